"""Indexes for what the gateway is asked for, and the links of notices that were used."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    run_files("0007_asked.up")


def downgrade() -> None:
    """Take them away."""
    run_files("0007_asked.down")
