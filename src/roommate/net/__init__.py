"""How others are reached, and how often."""
