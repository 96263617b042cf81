"""What an operator needs around the daemon."""
