"""The Jobs table: keys, items, conditional writes."""
