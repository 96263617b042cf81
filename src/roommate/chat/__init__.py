"""What a person can say and what a person sees: commands, addressing, the looks of a turn, our own words."""
