"""Programs that use AdBot Queue from outside."""
