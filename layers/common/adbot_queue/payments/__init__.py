"""Provider events in, commands on orders and bots out; checkout sessions and the plan catalogue."""
