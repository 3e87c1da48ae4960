"""Orders, bots, the stock of sessions, and the allocation that brings them together."""
