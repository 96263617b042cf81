"""Roommate: a self-hosted coding bot for Matrix. Every room gets a container of its own."""

__version__ = "0.1.0"
