"""What is kept: ports, and their implementations in memory and SQL; blobs as files."""
