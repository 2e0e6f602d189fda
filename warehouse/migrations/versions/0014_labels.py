"""What stands behind labels, what their authors are worth, what to ask next, and which models learned from whom."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0014"
down_revision = "0009"  # 0010 to 0013 are other branches': whoever merges chains them
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    run_files("0014_labels.up")


def downgrade() -> None:
    """Take them away; labels stay, and count at face value again."""
    run_files("0014_labels.down")
