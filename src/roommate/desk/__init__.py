"""The operators' desk: what the command line and chat can look at and do in a daemon that runs.

Each module has functions over the House that give dataclasses; `methods` puts them on the control socket.
"""
