"""Releases side by side in an install folder, and the way from one to another that ends in one that runs."""
