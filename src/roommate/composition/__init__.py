"""The daemon plugged together, subject by subject; every part is given what it uses."""
