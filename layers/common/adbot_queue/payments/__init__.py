"""From what payment providers report to orders and bots; plans and how they are bought."""
