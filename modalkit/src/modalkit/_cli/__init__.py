"""What the commands do; `modalkit.cli` says which there are."""
