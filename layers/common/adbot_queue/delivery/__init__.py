"""What becomes of messages after a provider took them: what we know ourselves, and what the provider reports."""
