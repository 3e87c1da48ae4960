"""Job types of dead letters."""
