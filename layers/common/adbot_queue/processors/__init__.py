"""What job types do, one module a family. Each calls its provider for real, and reports what the provider said."""
