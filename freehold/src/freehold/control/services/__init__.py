"""Use cases, one module per resource: the only code that changes state."""
