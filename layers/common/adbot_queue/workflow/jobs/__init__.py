"""Job types of workflows."""
