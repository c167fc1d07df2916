"""Where a task runs."""
