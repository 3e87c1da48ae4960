"""Jobs that died or failed: groups and replay."""
