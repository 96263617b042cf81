"""The scripts that make a service of Roommate, on a clean machine under a real systemd."""
