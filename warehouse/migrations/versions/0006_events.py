"""What an Alertmanager says, and events of access, log-in and play."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables alert and event, and have them end."""
    run_files("0006_events.up")


def downgrade() -> None:
    """Drop them."""
    run_files("0006_events.down")
