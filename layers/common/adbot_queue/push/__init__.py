"""The browsers that a user wants to be told things on."""
