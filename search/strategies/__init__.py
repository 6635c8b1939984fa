"""Search strategies: each proposes architectures from what a search knows so far."""
