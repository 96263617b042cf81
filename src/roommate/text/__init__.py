"""Words, sizes and times for people, whatever wrote them."""
