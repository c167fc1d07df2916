"""Freehold: a self-hosted engine that the unmodified modal package deploys to."""
