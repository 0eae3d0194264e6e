"""Create the table of range tests."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lrsearch_range_tests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("task", sa.String(255), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lrsearch_range_tests"),
        sa.UniqueConstraint("uuid", name="uq_lrsearch_range_tests_uuid"),
    )


def downgrade() -> None:
    op.drop_table("lrsearch_range_tests")
