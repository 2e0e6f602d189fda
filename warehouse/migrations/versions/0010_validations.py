"""A/B validations of models, what was observed and what came of it."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    run_files("0010_validations.up")


def downgrade() -> None:
    """Take them away."""
    run_files("0010_validations.down")
