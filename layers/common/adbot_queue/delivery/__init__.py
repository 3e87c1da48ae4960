"""What becomes of a message after its provider took it, and to whom nothing is sent any more."""
