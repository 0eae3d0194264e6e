"""Create the tables of studies, slots, epoch values and workers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lrsearch_studies",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_lrsearch_studies"),
    )
    op.create_table(
        "lrsearch_slots",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(255), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("point", sa.Text(), nullable=True),
        sa.Column("trial", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.String(8), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("epochs", sa.Integer(), nullable=True),
        sa.Column("diverged", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("study_uuid", "slot", name="pk_lrsearch_slots"),
    )
    op.create_table(
        "lrsearch_epoch_values",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("trial", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("study_uuid", "trial", "epoch", "name", name="pk_lrsearch_epoch_values"),
    )
    op.create_table(
        "lrsearch_workers",
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(255), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lrsearch_workers"),
    )


def downgrade() -> None:
    for table in ("lrsearch_workers", "lrsearch_epoch_values", "lrsearch_slots", "lrsearch_studies"):
        op.drop_table(table)
