"""The store on SQLAlchemy 2 and SQLite. What another database spells otherwise: `sqlite.py`, and ON CONFLICT."""
