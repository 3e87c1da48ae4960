"""What the local stack can play: `make demo T=NAME` runs the module of that name."""
