"""The product on another host: Debian 13 in a virtual machine. `scripts/test --vm` runs this, and nothing else does."""
