"""One-time passwords: six digits to a phone, good once, for five minutes."""
