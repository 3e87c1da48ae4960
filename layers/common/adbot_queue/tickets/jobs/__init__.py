"""Job types of tickets."""
