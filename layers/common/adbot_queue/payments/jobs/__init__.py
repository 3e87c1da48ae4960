"""Job types that move money."""
