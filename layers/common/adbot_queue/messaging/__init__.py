"""Mails, text messages, push and one-time codes."""
