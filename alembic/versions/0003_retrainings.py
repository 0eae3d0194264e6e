"""Create the tables of retrainings, and of the confirmations and audits that compare them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lrsearch_retrainings",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("study_uuid", "key", name="pk_lrsearch_retrainings"),
    )
    op.create_table(
        "lrsearch_examinations",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_lrsearch_examinations"),
    )


def downgrade() -> None:
    op.drop_table("lrsearch_examinations")
    op.drop_table("lrsearch_retrainings")
