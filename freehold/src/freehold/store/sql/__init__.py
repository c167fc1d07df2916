"""The store on SQLAlchemy 2 (SQLite now; Postgres by the same statements)."""
