"""Drift, the retrainings asked for because of it, and the quality of data."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    run_files("0011_drift.up")


def downgrade() -> None:
    """Take them away."""
    run_files("0011_drift.down")
