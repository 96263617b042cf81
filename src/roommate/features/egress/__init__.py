"""What a room may reach: rules, cards, and the proxy that is its only way out."""
