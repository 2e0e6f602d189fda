"""Thresholds that a tenant's calm sets for versions which learned from another."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Allow them."""
    run_files("0017_adopted.up")


def downgrade() -> None:
    """Take them away."""
    run_files("0017_adopted.down")
