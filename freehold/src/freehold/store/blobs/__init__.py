"""Blobs: content by id or digest, in a folder."""
