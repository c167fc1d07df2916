"""The freehold command: one file per command; parses, calls, prints."""
