"""What is pushed at the door, kept in the order in which it was committed until the watcher has read it."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    run_files("0003_deliveries.up")


def downgrade() -> None:
    """Take it away, content included."""
    run_files("0003_deliveries.down")
