"""Reconcile loops, one per module: each step looks at everything due; running it twice changes nothing."""
