"""What every capability uses: settings, clock, ids, errors, telemetry, AWS access, HTTP. No business words."""

import gc

gc.set_threshold(50_000)
"""Objects made between two collections. What imports make is no garbage: Python's 700 spend 45 ms of a cold start."""
