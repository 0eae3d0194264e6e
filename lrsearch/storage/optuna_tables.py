"""The few of Optuna's tables that lrsearch reads or writes itself, as of Optuna's revision v3.2.0.a.

Optuna writes one row per call. A fused array begins, advances and ends many trials at once, and writes them
together.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from lrsearch.errors import UnknownNameError
from lrsearch.storage.upsert import insert_all, upsert

# What these tables look like is Optuna's own affair: with others than these, only its interface is used.
REVISION = "v3.2.0.a"
VERSIONS = "5."

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

version_info = sa.table("version_info", sa.column("library_version", sa.String))

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
    sa.column("param_value", sa.Double),
    sa.column("distribution_json", sa.Text),
)

trial_user_attributes = sa.table(
    "trial_user_attributes",
    sa.column("trial_id", sa.Integer),
    sa.column("key", sa.String),
    sa.column("value_json", sa.Text),
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


@dataclass(frozen=True)
class NewTrial:
    """A trial that begins.

    Args:
        params: its parameters by name.
        distributions: of its parameters, by name; further ones are passed over.
        user_attrs: by key.
    """

    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    user_attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ends.

    Args:
        trial_id: Optuna's.
        state: COMPLETE, PRUNED or FAIL.
        value: of a COMPLETE trial; a PRUNED one takes the last that it reported.
        user_attrs: by key.
    """

    trial_id: int
    state: TrialState
    value: float | None = None
    user_attrs: Mapping[str, Any] = field(default_factory=dict)


def are_known(storage: RDBStorage) -> bool:
    """Return whether the installed Optuna has the tables that this module describes."""
    return optuna.__version__.startswith(VERSIONS) and storage.get_head_version() == REVISION


def stored_value(value: float) -> tuple[float | None, str]:
    """Return a number as Optuna stores it: the value if it is finite, and its kind."""
    if math.isnan(value):
        return None, "NAN"
    if math.isinf(value):
        return None, "INF_POS" if value > 0 else "INF_NEG"
    return float(value), "FINITE"


def insert_trials(
    connection: sa.Connection, study_id: int, begun: Sequence[NewTrial], now: datetime
) -> dict[int, int]:
    """Begin trials, as ``optuna.Study.ask`` and ``optuna.Trial.suggest_float`` begin one.

    Args:
        connection: a connection in a transaction that holds the study's lock.
        study_id: Optuna's id of the study.
        begun: the trials, in the order of their numbers.
        now: naive UTC.

    Returns:
        Optuna's ids of the trials, by number.
    """
    if not begun:
        return {}
    first = connection.scalar(sa.select(sa.func.count()).where(trials.c.study_id == study_id)) or 0
    same = {"study_id": study_id, "state": TrialState.RUNNING, "datetime_start": now}
    insert = sa.insert(trials).returning(trials.c.number, trials.c.trial_id)
    rows = [same | {"number": first + place} for place in range(len(begun))]
    ids = {row.number: row.trial_id for row in connection.execute(insert, rows)}
    pairs = [(ids[first + place], trial) for place, trial in enumerate(begun)]
    insert_all(connection, trial_params, param_rows(pairs))
    insert_all(connection, trial_user_attributes, attribute_rows(pairs))
    return ids


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


def end_trials(connection: sa.Connection, ends: Sequence[TrialEnd], now: datetime) -> None:
    """End trials, as ``optuna.Study.tell`` ends one; those that have ended stay as they are.

    Args:
        connection: a connection in a transaction.
        ends: of the trials.
        now: naive UTC.
    """
    ended: set[int] = set()
    for state in {end.state for end in ends}:
        ids = [end.trial_id for end in ends if end.state is state]
        open_ones = sa.update(trials).where(
            trials.c.trial_id.in_(ids), trials.c.state.in_((TrialState.RUNNING, TrialState.WAITING))
        )
        change = open_ones.values(state=state, datetime_complete=now).returning(trials.c.trial_id)
        ended |= set(connection.scalars(change))
    mine = [end for end in ends if end.trial_id in ended]
    last = _last_reported(connection, [end.trial_id for end in mine if end.state is TrialState.PRUNED])
    values, attributes = [], []
    for end in mine:
        value = end.value if end.state is TrialState.COMPLETE else last.get(end.trial_id)
        if value is not None:
            finite, kind = stored_value(value)
            row = {"trial_id": end.trial_id, "objective": 0, "value": finite, "value_type": kind}
            values.append(row)
        attributes += _rows(end.trial_id, end.user_attrs)
    upsert(connection, trial_values, values, key=("trial_id", "objective"))
    upsert(connection, trial_user_attributes, attributes, key=("trial_id", "key"))


def running_before(connection: sa.Connection, study_id: int, before: datetime) -> list[int]:
    """Return the numbers of the running trials that began before a time in naive UTC."""
    query = sa.select(trials.c.number).where(
        trials.c.study_id == study_id,
        trials.c.state == TrialState.RUNNING,
        trials.c.datetime_start < before,
    )
    return list(connection.scalars(query))


class TrialIds:
    """Optuna's ids of a study and its trials, found by ours.

    Args:
        study_uuid: our key of the study.
    """

    def __init__(self, study_uuid: str) -> None:
        self._study_uuid = study_uuid
        self._find = sa.select(sa.func.min(study_user_attributes.c.study_id)).where(
            study_user_attributes.c.key == UUID_ATTRIBUTE,
            study_user_attributes.c.value_json == json.dumps(study_uuid),
        )
        self._study_id: int | None = None
        self._ids: dict[int, int] = {}  # by the trial's number, as long as the study keeps its own id

    def study_id(self, connection: sa.Connection) -> int:
        """Return Optuna's present id of the study, which a rename changes.

        Raises:
            UnknownNameError: the study was deleted.
        """
        return self._known(connection, connection.scalar(self._find))

    def lock_study(self, connection: sa.Connection) -> int:
        """Return Optuna's present id of the study, and hold its lock, as who numbers trials does.

        Raises:
            UnknownNameError: the study was deleted.
        """
        found = sa.select(studies.c.study_id).where(studies.c.study_id == self._find.scalar_subquery())
        return self._known(connection, connection.scalar(found.with_for_update()))

    def learn(self, study_id: int, ids: Mapping[int, int]) -> None:
        """Remember the ids of trials of a study by number, once it is sure that they are stored."""
        if study_id == self._study_id:
            self._ids |= ids

    def _known(self, connection: sa.Connection, study_id: int | None) -> int:
        if study_id is None:
            names = connection.scalars(sa.select(studies.c.study_name))
            raise UnknownNameError("study", self._study_uuid, names)
        if study_id != self._study_id:
            self._study_id, self._ids = study_id, {}
        return study_id

    def of(self, connection: sa.Connection, numbers: Iterable[int]) -> dict[int, int]:
        """Return the ids of trials by number; those that do not exist are absent.

        Raises:
            UnknownNameError: the study was deleted.
        """
        study_id, wanted = self.study_id(connection), list(numbers)
        unknown = [number for number in wanted if number not in self._ids]
        if unknown:
            query = sa.select(trials.c.number, trials.c.trial_id).where(
                trials.c.study_id == study_id, trials.c.number.in_(unknown)
            )
            self._ids |= {row.number: row.trial_id for row in connection.execute(query)}
        return {number: self._ids[number] for number in wanted if number in self._ids}


def param_rows(begun: Iterable[tuple[int, NewTrial]], key: str = "trial_id") -> list[dict[str, Any]]:
    """Return the rows of the parameters of trials.

    Args:
        begun: each with what identifies it.
        key: name of the column of that.
    """
    written: dict[int, str] = {}  # by the identity of the distribution, as most trials share theirs
    rows = []
    for identity, trial in begun:
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            if id(distribution) not in written:
                written[id(distribution)] = distribution_to_json(distribution)
            row = {key: identity, "param_name": name, "distribution_json": written[id(distribution)]}
            rows.append(row | {"param_value": distribution.to_internal_repr(value)})
    return rows


def attribute_rows(begun: Iterable[tuple[int, NewTrial]], key: str = "trial_id") -> list[dict[str, Any]]:
    """Return the rows of the user attributes of trials; see ``param_rows``."""
    return [row for identity, trial in begun for row in _rows(identity, trial.user_attrs, key)]


def _rows(identity: int, attributes: Mapping[str, Any], key: str = "trial_id") -> list[dict[str, Any]]:
    return [
        {key: identity, "key": name, "value_json": json.dumps(value)} for name, value in attributes.items()
    ]


def _last_reported(connection: sa.Connection, ids: Sequence[int]) -> dict[int, float]:
    """Return the last value that trials have reported; NaN counts as none."""
    if not ids:
        return {}
    table = trial_intermediate_values
    query = (
        sa.select(table.c.trial_id, table.c.intermediate_value, table.c.intermediate_value_type)
        .where(table.c.trial_id.in_(ids))
        .order_by(table.c.trial_id, table.c.step)
    )
    infinite = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
    last = {row[0]: infinite.get(row[2], row[1]) for row in connection.execute(query)}
    return {trial_id: value for trial_id, value in last.items() if not math.isnan(value)}
