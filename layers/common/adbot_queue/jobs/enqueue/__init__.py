"""From a request to a row."""
