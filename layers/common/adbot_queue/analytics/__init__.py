"""Tracked events, and what is counted of them: by hour, by day, by article."""
