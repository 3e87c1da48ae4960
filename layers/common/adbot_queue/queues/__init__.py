"""Queues of jobs: statistics, pause and resume."""
