"""Running the platform: overview, metrics, cleanup, readiness."""
