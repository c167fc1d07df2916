"""Images, built step by step into layers."""
