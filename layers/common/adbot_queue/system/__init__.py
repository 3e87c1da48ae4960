"""The state of the system itself: health, admin notices."""
