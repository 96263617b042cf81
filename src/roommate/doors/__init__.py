"""The doors through which operations are asked for: chat, the control socket, the command line by way of it; and the
texts that are made of their declarations."""
