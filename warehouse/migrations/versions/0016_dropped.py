"""Why a retraining that was asked for is never handed over."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    run_files("0016_dropped.up")


def downgrade() -> None:
    """Take it away."""
    run_files("0016_dropped.down")
