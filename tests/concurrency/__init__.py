"""Random runs against Amazon's DynamoDB Local: many workers at once, killed at random, audited at the end."""
