"""The agent: the turn loop, what a model is told, the window of history it sees, and the models themselves."""
