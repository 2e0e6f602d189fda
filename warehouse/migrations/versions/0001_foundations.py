"""Every noun's table, row-level security on all of them, the append-only audit and the registry of columns."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, then close them, then say what each column is for."""
    run_files("0001_foundations.up", "0001_story.up", "0001_access.up", "0001_registry.up")


def downgrade() -> None:
    """Take everything away, content included."""
    run_files("0001_foundations.down")
