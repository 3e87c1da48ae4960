"""Bots and pools over HTTP."""
