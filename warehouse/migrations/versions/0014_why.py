"""Why a training was asked for, and what a version was trained for."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of what was asked for before, drift's is known."""
    run_files("0014_why.up")


def downgrade() -> None:
    """Take them away."""
    run_files("0014_why.down")
