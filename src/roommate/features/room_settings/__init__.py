"""What operators set for a room alone."""
