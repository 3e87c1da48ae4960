"""Deliveries, messages, subscriptions and codes over HTTP."""
