"""The real, unmodified modal client and CLI against a live engine: one file per resource, each test a thing that a user does."""
