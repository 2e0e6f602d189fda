"""Steps from one schema to the next: plain SQL files, run in order by Alembic."""
