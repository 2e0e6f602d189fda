"""A tenant's thresholds are rows of its own, not tags of a model that is everybody's."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    run_files("0008_calibrations.up")


def downgrade() -> None:
    """Take it away; a watcher then goes by the tags that a version's training left."""
    run_files("0008_calibrations.down")
