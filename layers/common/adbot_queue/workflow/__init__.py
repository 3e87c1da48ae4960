"""Workflows: jobs that lead other jobs, step by step."""
