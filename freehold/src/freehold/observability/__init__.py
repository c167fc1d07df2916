"""Logging for the people who run the engine; the record of what happened to each id."""
