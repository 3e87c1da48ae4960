"""Stand-ins for payment, mail, message and analytics providers whose keys are missing. On loopback, in memory."""
