"""States, priorities and run options of studies; checkpoints of slots; workers that move between studies."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_WORKERS_KEY = "pk_lrsearch_workers"
_STATES, _BEGUN = "ix_lrsearch_slots_study_uuid", "ix_lrsearch_slots_begun"


def upgrade() -> None:
    with op.batch_alter_table("lrsearch_studies") as studies:
        studies.add_column(sa.Column("run", sa.Text(), nullable=True))
        studies.add_column(sa.Column("state", sa.String(8), nullable=False, server_default="open"))
        studies.add_column(sa.Column("state_reason", sa.Text(), nullable=True))
        studies.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
        studies.add_column(sa.Column("max_workers", sa.Integer(), nullable=True))
    with op.batch_alter_table("lrsearch_slots") as slots:
        slots.add_column(sa.Column("checkpoint", sa.String(255), nullable=True))
        slots.add_column(sa.Column("traceback", sa.Text(), nullable=True))
    has_trial = sa.text("trial IS NOT NULL")
    op.create_index(_STATES, "lrsearch_slots", ["study_uuid", "state", "slot"])
    op.create_index(
        _BEGUN, "lrsearch_slots", ["study_uuid", "slot"], postgresql_where=has_trial, sqlite_where=has_trial
    )
    with op.batch_alter_table("lrsearch_workers") as workers:
        workers.add_column(sa.Column("machine", sa.String(255), nullable=False, server_default=""))
        workers.add_column(sa.Column("process_started", sa.Double(), nullable=True))
        workers.add_column(sa.Column("left_at", sa.DateTime(), nullable=True))
        workers.drop_constraint(_WORKERS_KEY, type_="primary")
        workers.create_primary_key(_WORKERS_KEY, ["id", "study_uuid"])


def downgrade() -> None:
    # One row for a worker, as before: the others are of studies that it has left.
    op.execute(
        "DELETE FROM lrsearch_workers WHERE EXISTS (SELECT 1 FROM lrsearch_workers AS newer "
        "WHERE newer.id = lrsearch_workers.id AND newer.study_uuid > lrsearch_workers.study_uuid)"
    )
    with op.batch_alter_table("lrsearch_workers") as workers:
        workers.drop_constraint(_WORKERS_KEY, type_="primary")
        workers.create_primary_key(_WORKERS_KEY, ["id"])
        for column in ("left_at", "process_started", "machine"):
            workers.drop_column(column)
    op.drop_index(_BEGUN, "lrsearch_slots")
    op.drop_index(_STATES, "lrsearch_slots")
    with op.batch_alter_table("lrsearch_slots") as slots:
        slots.drop_column("traceback")
        slots.drop_column("checkpoint")
    with op.batch_alter_table("lrsearch_studies") as studies:
        for column in ("max_workers", "priority", "state_reason", "state", "run"):
            studies.drop_column(column)
