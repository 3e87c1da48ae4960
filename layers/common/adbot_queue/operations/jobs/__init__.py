"""Job types that keep the platform running."""
