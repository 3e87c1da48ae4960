"""From a message to the end of a job."""
