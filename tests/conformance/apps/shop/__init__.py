"""An app in several modules."""
