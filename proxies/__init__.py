"""Zero-cost statistics: what one forward and backward pass at initialisation tells about a network."""
