"""Optuna's storage, made to survive lost connections and several processes on one SQLite file."""

import functools
import pickle
from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from lrsearch.storage.address import StorageAddress, engine_options
from lrsearch.storage.distributions import SharedDistributions, widen_stored
from lrsearch.storage.idle_connections import check_idle_connections
from lrsearch.storage.optuna_tables import stored_value, trial_values, trials
from lrsearch.storage.postgresql import limit_pauses
from lrsearch.storage.retry import with_retries
from lrsearch.storage.upsert import upsert

Result = TypeVar("Result")

# What Optuna calls, or the cache that it puts before every RDBStorage: that one calls four private names.
RETRIED_CALLS = (
    "create_new_study",
    "delete_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "create_new_trial",
    "_create_new_trial",
    "set_trial_param",
    "_set_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "get_trial_number_from_id",
    "get_trial_param",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial",
    "get_trial_params",
    "get_trial_user_attrs",
    "get_trial_system_attrs",
    "get_all_trials",
    "_get_trials",
    "get_n_trials",
    "get_best_trial",
    "_get_best_trial_id",
    "record_heartbeat",
    "_get_stale_trial_ids",
)


class ReliableStorage(RDBStorage):
    """An ``optuna.storages.RDBStorage`` on which workers neither die nor take each other's trials.

    A trial changes its state in one compare-and-swap statement: on SQLite, Optuna's own read-then-write gives
    one waiting trial to several workers. Every call is repeated while the database is locked or unreachable.

    Args:
        address: the database.
        retry_s: how long a call is repeated, in seconds.
        skip_table_creation: leave an existing schema as it is.
        skip_compatibility_check: accept an older schema, to upgrade it.
    """

    _head_version: ClassVar[str | None] = None

    def __init__(
        self,
        address: StorageAddress,
        *,
        retry_s: float = 60.0,
        skip_table_creation: bool = False,
        skip_compatibility_check: bool = False,
    ) -> None:
        self.address = address
        self.retry_s = retry_s
        self._distributions = SharedDistributions()
        # Optuna passes the URL through str.format.
        template = address.url.replace("{", "{{").replace("}", "}}")
        try:
            super().__init__(
                template,
                engine_kwargs=engine_options(address),
                skip_table_creation=skip_table_creation,
                skip_compatibility_check=skip_compatibility_check,
            )
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise
        check_idle_connections(self.engine)
        limit_pauses(self.engine)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address})"

    def __getstate__(self) -> dict[Any, Any]:
        if self.address.secrets:
            raise pickle.PicklingError(
                f"a pickle of {self!r} would hold its password. Open the database in each process instead."
            )
        return super().__getstate__()

    def get_head_version(self) -> str:
        """Return the revision of its tables that the installed Optuna needs."""
        # One for the whole process, and slow to find: Optuna imports all its migrations for it, each time.
        if ReliableStorage._head_version is None:
            ReliableStorage._head_version = super().get_head_version()
        return ReliableStorage._head_version

    def transaction(self, write: Callable[[sa.Connection], Result]) -> Result:
        """Return ``write(connection)``, run in one transaction that may read and write.

        Args:
            write: is run again from its start if the connection is lost, even when only the answer to its
                commit was; so it must stand being repeated.

        Raises:
            DatabaseLostError: the database has not answered for ``retry_s``.
        """
        return with_retries(lambda: self._transact(write), self.address, self.retry_s)

    def read(self, query: Callable[[sa.Connection], Result]) -> Result:
        """Return ``query(connection)``, which only reads and so keeps no writer waiting.

        Raises:
            DatabaseLostError: the database has not answered for ``retry_s``.
        """

        def once() -> Result:
            with self.engine.connect() as connection:
                if self._reads_without_transaction:
                    connection.execution_options(isolation_level="AUTOCOMMIT")
                return query(connection)

        return with_retries(once, self.address, self.retry_s)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Change the state of a trial that has not ended, in one compare-and-swap.

        Args:
            trial_id: Optuna's id of the trial.
            state: the new state.
            values: the objective's values; the stored ones stay if None.

        Returns:
            False if the trial was to start running but another worker has started it.

        Raises:
            KeyError: no trial has this id.
            UpdateFinishedTrialError: the trial has ended already.
            DatabaseLostError: the database has not answered for ``retry_s``.
        """
        tries = 0

        def once() -> bool:
            nonlocal tries
            tries += 1
            try:
                return self._transact(lambda connection: self._swap(connection, trial_id, state, values))
            except UpdateFinishedTrialError:
                # The commit of an earlier try may have succeeded although its answer was lost.
                if tries > 1 and self._has_ended_as(trial_id, state, values):
                    return True
                raise

        return with_retries(once, self.address, self.retry_s)

    def widen_distribution(
        self, study_id: int, name: str, distribution: BaseDistribution
    ) -> BaseDistribution:
        """Give one parameter the same, wider distribution in all trials of a study.

        Optuna's samplers drop a parameter that has two ranges from the space that they model jointly.
        Rewriting the stored range keeps it there. The trials in this process follow at once, those in other
        processes when they next read one.

        Args:
            study_id: Optuna's id of the study.
            name: the parameter.
            distribution: the range to include, of the stored ranges' kind, ``log`` and ``step``.

        Returns:
            The range that is stored now: the given and the stored ones together.

        Raises:
            ValueError: the distribution is of another kind than the stored ones.
        """
        union = self.transaction(lambda connection: widen_stored(connection, study_id, name, distribution))
        self._distributions.share(study_id, {name: union})
        return union

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        # Everything that reaches Optuna's cache of trials comes through here.
        found = super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        for trial in found:
            self._distributions.share(study_id, trial.distributions)
        return found

    @property
    def _reads_without_transaction(self) -> bool:
        # Beginning and ending one takes as long as what is read. But only in one is PostgreSQL read-only.
        return self.address.backend == "postgresql" and not self.address.read_only

    def _transact(self, write: Callable[[sa.Connection], Result]) -> Result:
        with self.engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                # One that begins by reading could not write any more once another process has written.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            return write(connection)

    def _swap(
        self, connection: sa.Connection, trial_id: int, state: TrialState, values: Sequence[float] | None
    ) -> bool:
        starts = state == TrialState.RUNNING
        earlier = [TrialState.WAITING] if starts else [TrialState.WAITING, TrialState.RUNNING]
        changes: dict[str, Any] = {"state": state}
        if starts or state.is_finished():
            column = "datetime_start" if starts else "datetime_complete"
            changes[column] = datetime.now(UTC).replace(tzinfo=None)  # Optuna stores naive UTC
        swap = sa.update(trials).where(trials.c.trial_id == trial_id, trials.c.state.in_(earlier))
        if connection.execute(swap.values(changes)).rowcount == 0:
            self._check_running(connection, trial_id)
            return False
        _store_values(connection, trial_id, values or ())
        return True

    def _check_running(self, connection: sa.Connection, trial_id: int) -> None:
        state = connection.scalar(sa.select(trials.c.state).where(trials.c.trial_id == trial_id))
        if state is None:
            raise KeyError(f"no trial has the id {trial_id}")
        self.check_trial_is_updatable(trial_id, state)

    def _has_ended_as(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        trial = self.get_trial(trial_id)
        return trial.state == state and trial.values == (None if values is None else list(values))


def _store_values(connection: sa.Connection, trial_id: int, values: Sequence[float]) -> None:
    rows = []
    for objective, value in enumerate(values):
        finite, kind = stored_value(value)
        rows.append({"trial_id": trial_id, "objective": objective, "value": finite, "value_type": kind})
    upsert(connection, trial_values, rows, key=("trial_id", "objective"))


def _retried(name: str) -> Callable[..., Any]:
    call = getattr(ReliableStorage, name)

    @functools.wraps(call)
    def repeated(self: ReliableStorage, *args: Any, **options: Any) -> Any:
        return with_retries(lambda: call(self, *args, **options), self.address, self.retry_s)

    return repeated


# Wrapped here, not overridden one by one: thirty methods that say the same would hide the few that do not.
for _name in RETRIED_CALLS:
    setattr(ReliableStorage, _name, _retried(_name))
