"""The store in memory, a module per aggregate, as in `sql`."""
