"""Job types that send mails, messages and codes."""
