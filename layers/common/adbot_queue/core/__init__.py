"""What every capability stands on: settings, clock, ids, errors, telemetry, AWS access, HTTP. No business words."""
