"""Stand-ins for payment, mail and analytics providers, for machines without their keys. On loopback, in memory."""
