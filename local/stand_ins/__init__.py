"""Stand-ins for payment and mail providers, for machines without keys of theirs. On loopback only, in memory only."""
