"""Jobs: a row first and a message second; claimed, run, finished, retried, accounted for."""
