"""Graph -> vector."""
