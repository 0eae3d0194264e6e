"""Create the table of the learning rates that were logged during a training."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lrsearch_logged_runs",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("study_uuid", "key", name="pk_lrsearch_logged_runs"),
    )


def downgrade() -> None:
    op.drop_table("lrsearch_logged_runs")
