"""Roll-ups, and the end of what has outlived its retention."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the functions."""
    run_files("0004_retention.up")


def downgrade() -> None:
    """Take them away, content included."""
    run_files("0004_retention.down")
