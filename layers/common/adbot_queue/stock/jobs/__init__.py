"""Job types of the stock."""
