"""Schedules: what is to be asked later, or again and again."""
