"""Going to another release, and back, from chat."""
