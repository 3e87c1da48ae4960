"""The AdBots table: keys, items, transactions."""
