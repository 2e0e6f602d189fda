"""Checks of drift and of the quality of data end after a while."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the function that ends them."""
    run_files("0015_checks_end.up")


def downgrade() -> None:
    """Take it away; what ended does not come back."""
    run_files("0015_checks_end.down")
