"""Trains points to their end outside of a search, in the lanes of one array, each under a seed of its own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from lrsearch.errors import TaskError
from lrsearch.results import EpochResult, LaneFailure, in_one_line
from lrsearch.retrainings import Retraining, Run
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.task import Task
from lrsearch.training.data import TrainingData
from lrsearch.training.eager import Models, evaluate
from lrsearch.training.trainer import TrialSettings, create_trainer


@dataclass(frozen=True)
class RetrainedEpoch:
    """An epoch of all lanes.

    Args:
        trained: epochs trained, over all lanes.
        ended: the runs that have ended with it, or could not begin, and how.
    """

    trained: int
    ended: tuple[tuple[Run, Retraining], ...]


@dataclass
class _Lane:
    """A run in training."""

    run: Run
    valid_losses: list[float] = field(default_factory=list)

    def ended(
        self,
        metrics: Mapping[str, float] | None = None,
        test: Mapping[str, float] | None = None,
        *,
        diverged: bool = False,
        reason: str | None = None,
    ) -> Retraining:
        return Retraining(
            point=self.run.point,
            seed=self.run.seed,
            epochs=self.run.epochs,
            valid_losses=tuple(self.valid_losses),
            metrics=metrics or {},
            test=test or {},
            diverged=diverged,
            reason=reason,
        )


class Retrainer:
    """Trains runs of one length, as many at once as pay.

    Runs that follow each other under one seed share their batches, which makes them cheaper.

    Args:
        task: what is learned.
        data: its data on the training device.
        settings: of all runs; their seed decides the loss above which a run counts as diverged.
        frozen: the study's patterns of parameters that are not trained.
        lanes: runs at once; None for as many as pay.
        at_most: limit of lanes that are chosen here.
    """

    def __init__(
        self,
        task: Task,
        data: TrainingData,
        settings: TrialSettings,
        *,
        frozen: tuple[str, ...],
        lanes: int | None,
        at_most: int,
    ) -> None:
        self._task, self._data, self._settings, self._frozen = task, data, settings, frozen
        trainer = create_trainer(task, data, settings, lanes=lanes, at_most=at_most)
        self._array, self._lane_count = trainer.array, trainer.lanes
        self._models = Models(task, data.device)

    def train(self, runs: Sequence[Run]) -> Iterator[RetrainedEpoch]:
        """Train runs to their end, and yield after every epoch of those in training.

        Raises:
            TaskError: if the test split is to be read, and the model cannot be evaluated on it.
        """
        if any(run.test for run in runs):
            self._rehearse_test()
        for first in range(0, len(runs), self._lane_count):
            yield from self._together(runs[first : first + self._lane_count])

    def _together(self, runs: Sequence[Run]) -> Iterator[RetrainedEpoch]:
        lanes: dict[int, _Lane] = {}
        refused: list[tuple[Run, Retraining]] = []
        for number, run in enumerate(runs):
            lane = _Lane(run)
            try:
                point = Hyperparameters.from_point(run.point, self._frozen)
                self._array.start(number, point, run.seed)
            except Exception as error:  # whatever a user's model raises fails its run, not the others
                refused.append((run, lane.ended(reason=in_one_line(error))))
            else:
                lanes[number] = lane
        if refused:
            yield RetrainedEpoch(0, tuple(refused))
        while lanes:
            results = self._array.run_epoch()
            ended = {each.trial: end for each in results if (end := self._ending(lanes[each.trial], each))}
            self._array.drop(ended.keys())
            ended_runs = tuple((lanes.pop(number).run, end) for number, end in ended.items())
            yield RetrainedEpoch(len(results), ended_runs)

    def _ending(self, lane: _Lane, result: EpochResult | LaneFailure) -> Retraining | None:
        """Return how a run has ended with an epoch; None if it goes on."""
        if isinstance(result, LaneFailure):
            return lane.ended(reason=result.reason)
        lane.valid_losses.append(result.valid_loss)
        if result.diverged(self._array.untrained_loss):
            return lane.ended(diverged=True)
        if result.epoch < lane.run.epochs:
            return None
        return lane.ended(result.metrics, self._test(result.trial) if lane.run.test else None)

    def _test(self, number: int) -> dict[str, float]:
        """Return the figures of a run's model on the test split; none where the task has no such split."""
        batches = self._data.test()
        if batches is None:
            return {}
        model = self._array.model(number)
        return evaluate(self._task, model, batches, self._data.device, self._settings.seed)

    def _rehearse_test(self) -> None:
        """Try the test split with an untrained model, before hours of training depend on it.

        Raises:
            TaskError: if the model cannot be evaluated on it.
        """
        batches = self._data.test()
        if batches is None:
            return
        model = self._models.build(self._settings.seed)
        try:
            evaluate(self._task, model, islice(batches, 1), self._data.device, self._settings.seed)
        except Exception as error:  # whatever the user's code raises
            raise TaskError(
                f"the model of {self._task.name} cannot be evaluated on the task's test split: "
                f"{in_one_line(error)}; make its examples as those of the validation split are"
            ) from error
