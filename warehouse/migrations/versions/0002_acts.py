"""What people do with incidents: approvals, acts taken up, the clock of escalation; notices that can be updated."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and let the story tell of people's acts."""
    run_files("0002_acts.up", "0002_story.up")


def downgrade() -> None:
    """Take them away, content included."""
    run_files("0002_acts.down", "0001_story.up", "0002_story.down")
