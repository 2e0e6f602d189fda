"""API keys can be given an end, and a version of the settings knows its profile."""

from __future__ import annotations

from warehouse.migrations.statements import run_files

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the app set when a key ends; add the profile."""
    run_files("0005_keys.up")


def downgrade() -> None:
    """No longer."""
    run_files("0005_keys.down")
