"""Knows nothing of modal."""

PRICES = {"apple": 3, "pear": 4}
