"""Migrations of the database, applied by Alembic."""
