"""Uploads of sessions: what people send, read line by line and stored once."""
