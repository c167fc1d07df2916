"""A package of the user's own."""

from mathlib.sums import total

__all__ = ["total"]
