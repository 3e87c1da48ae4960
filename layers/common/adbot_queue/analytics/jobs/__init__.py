"""Job types of analytics."""
