"""Promotions of models: what is to move, who said yes, whether it moved, and what became of it."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    run_files("0013_promotions.up")


def downgrade() -> None:
    """Take it away; champions stay who they are."""
    run_files("0013_promotions.down")
