"""Root filesystems from layers."""
