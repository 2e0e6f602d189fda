"""Rows of features, the views they belong to, and training sets."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    run_files("0009_features.up")


def downgrade() -> None:
    """Take them away."""
    run_files("0009_features.down")
