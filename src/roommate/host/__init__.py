"""The host's processes, files and programs: modes, trees, systemd, memory."""
