"""Queues of others. Each module imports its client, and is itself imported only where it is configured."""
