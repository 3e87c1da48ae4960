"""The embedded AWS on this machine: start, deploy, seed. Nothing in here reaches the cloud."""
