"""Job types of leads."""
