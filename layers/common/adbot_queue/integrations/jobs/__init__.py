"""Job types that call services of others."""
