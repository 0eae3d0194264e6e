"""The few of Optuna's tables that lrsearch reads or writes itself, as of Optuna's revision v3.2.0.a.

Optuna writes one row per call. A fused array ends an epoch of many trials at once and writes them together.
"""

import json
import math
from collections.abc import Iterable

import sqlalchemy as sa
from optuna.trial import TrialState

from lrsearch.storage.upsert import upsert

# The names of all tables that Optuna makes.
OPTUNA_TABLES = frozenset(
    {
        "alembic_version",
        "studies",
        "study_directions",
        "study_system_attributes",
        "study_user_attributes",
        "trial_heartbeats",
        "trial_intermediate_values",
        "trial_params",
        "trial_system_attributes",
        "trial_user_attributes",
        "trial_values",
        "trials",
        "version_info",
    }
)

# The attribute that ties an Optuna study to our rows. A rename in Optuna's dashboard makes a new study with
# new ids, and copies the attributes.
UUID_ATTRIBUTE = "lrsearch:uuid"

studies = sa.table("studies", sa.column("study_id", sa.Integer), sa.column("study_name", sa.String))

study_user_attributes = sa.table(
    "study_user_attributes",
    sa.column("study_id", sa.Integer),
    sa.column("key", sa.String),
    sa.column("value_json", sa.Text),
)

trials = sa.table(
    "trials",
    sa.column("trial_id", sa.Integer),
    sa.column("number", sa.Integer),
    sa.column("study_id", sa.Integer),
    sa.column("state", sa.Enum(TrialState)),
    sa.column("datetime_start", sa.DateTime),
    sa.column("datetime_complete", sa.DateTime),
)

trial_params = sa.table(
    "trial_params",
    sa.column("trial_id", sa.Integer),
    sa.column("param_name", sa.String),
    sa.column("distribution_json", sa.Text),
)

trial_values = sa.table(
    "trial_values",
    sa.column("trial_id", sa.Integer),
    sa.column("objective", sa.Integer),
    sa.column("value", sa.Double),
    sa.column("value_type", sa.Enum("FINITE", "INF_POS", "INF_NEG", name="trialvaluetype")),
)

trial_intermediate_values = sa.table(
    "trial_intermediate_values",
    sa.column("trial_id", sa.Integer),
    sa.column("step", sa.Integer),
    sa.column("intermediate_value", sa.Double),
    sa.column(
        "intermediate_value_type",
        sa.Enum("FINITE", "INF_POS", "INF_NEG", "NAN", name="trialintermediatevaluetype"),
    ),
)


def stored_value(value: float) -> tuple[float | None, str]:
    """Return a number as Optuna stores it: the value if it is finite, and its kind."""
    if math.isnan(value):
        return None, "NAN"
    if math.isinf(value):
        return None, "INF_POS" if value > 0 else "INF_NEG"
    return float(value), "FINITE"


def report_values(connection: sa.Connection, values: Iterable[tuple[int, int, float]]) -> None:
    """Write intermediate values of many trials, as ``optuna.Trial.report`` writes one.

    Args:
        connection: a connection in a transaction.
        values: Optuna's trial id, the step and the value (``inf`` and NaN included) of each. A step that
            exists is overwritten.
    """
    rows = []
    for trial_id, step, value in values:
        finite, kind = stored_value(value)
        row = {"trial_id": trial_id, "step": step}
        rows.append(row | {"intermediate_value": finite, "intermediate_value_type": kind})
    upsert(connection, trial_intermediate_values, rows, key=("trial_id", "step"))


def trial_ids(connection: sa.Connection, study_uuid: str, numbers: Iterable[int]) -> dict[int, int]:
    """Return Optuna's trial ids by trial number; those that do not exist are absent."""
    carriers = sa.select(sa.func.min(study_user_attributes.c.study_id)).where(
        study_user_attributes.c.key == UUID_ATTRIBUTE,
        study_user_attributes.c.value_json == json.dumps(study_uuid),
    )
    wanted = sa.select(trials.c.number, trials.c.trial_id).where(
        trials.c.study_id == carriers.scalar_subquery(), trials.c.number.in_(list(numbers))
    )
    return {row.number: row.trial_id for row in connection.execute(wanted)}
