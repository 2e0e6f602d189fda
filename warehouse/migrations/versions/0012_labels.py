"""What stands behind labels, what their authors are worth, what to ask next, and which models learned from whom."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    run_files("0012_labels.up")


def downgrade() -> None:
    """Take them away; labels stay, and count at face value again."""
    run_files("0012_labels.down")
