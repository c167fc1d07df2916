"""Volumes: what is in them, as folders."""
