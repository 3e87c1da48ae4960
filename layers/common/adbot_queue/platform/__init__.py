"""What every capability runs on: rate limits, circuit breakers, mode, pauses, logs."""
