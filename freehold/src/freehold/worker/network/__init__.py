"""Network namespaces of containers."""
