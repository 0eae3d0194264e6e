"""Replays every pruner on stored validation curves of trials that were trained in full.

Run it with: python -m benchmarks.pruning

The curves: 200 trials of `mnist-mlp` for each of four seeds, 10 epochs each, at random points of the space
of `studies/mnist-tpe.toml`, but of all schedule kinds except `constant`. A replay shuffles the trials of a
seed and trains them as a search does: two workers in turn with 8 lanes each, all losses of a worker's lanes
entered before any of them is judged, free lanes refilled in the shuffle's order. A trial that diverges ends
at once, whatever the pruner.

Epochs are those spent, as a part of all. A finalist is kept if a trial within 1% of the lowest validation
loss of the shuffle ran to its end. Excess is how much higher than this lowest loss the best finalist's is, on
average. Of a shuffle's best tenth by loss, the second table says which part was stopped.
Seeds 0 and 1 served to choose the rule and the constant of `percentile`; seeds 2 and 3 did not.
`percentile, later` is `percentile` that judges nobody before the longest warm-up has ended.
"""

import argparse
import json
import math
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from lrsearch.schedules import KINDS, Hyperparameters
from lrsearch.search import pruners
from lrsearch.search.pruners import PRUNERS, LeadersGoOn, PercentilePruner, Pruner, create_pruner
from lrsearch.search.space import domain_of
from lrsearch.spec import StudySpec, hyperparameters, read_spec, search_space
from lrsearch.spec.shipped import shipped_studies

CURVES = Path(__file__).parent / "pruning_curves.json"
TRIALS = 200
SEEDS = (0, 1, 2, 3)
LANES_TOGETHER = 20  # of the training, not of the replays
WARMUP_FRACTION = 0.2  # the longest that the space allows
WITHIN = 0.01  # of the best validation loss, relative
BEST_PART = 0.1
LATER = "percentile, later"
NAMES = (*PRUNERS, LATER)


@dataclass(frozen=True)
class Curve:
    """A trial that was trained in full.

    Args:
        kind: of its schedule.
        warmup_fraction: of its run.
        losses: validation losses after each epoch; the last one is infinite if it diverged there.
    """

    kind: str
    warmup_fraction: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class CurveSet:
    """Trials of one seed: epochs of those that do not diverge, and their curves."""

    seed: int
    epochs: int
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Lanes:
    """How a search trains: workers that take turns, and the lanes of each."""

    workers: int
    lanes: int

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.workers} x {self.lanes} lanes" if self.workers > 1 else f"{self.lanes} lane"


@dataclass
class Shuffle:
    """What a replay of trials in one order came to.

    Args:
        curves: of the trials, by number.
        spent: epochs that were trained.
        finished: trials that ran to their end.
        stopped: trials that the pruner stopped.
    """

    curves: Sequence[Curve]
    epochs: int
    spent: int = 0
    finished: list[int] = field(default_factory=list)
    stopped: set[int] = field(default_factory=set)

    @property
    def part(self) -> float:
        """Epochs that were spent, as a part of all."""
        return self.spent / (len(self.curves) * self.epochs)

    @property
    def excess(self) -> float:
        """Relative excess of the best trial that ran to its end over the best of all."""
        values = [curve.losses[-1] for curve in self.curves]
        return min((values[trial] for trial in self.finished), default=math.inf) / min(values) - 1

    @property
    def best(self) -> list[int]:
        """The trials among the best part."""
        ranked = sorted(range(len(self.curves)), key=lambda trial: self.curves[trial].losses[-1])
        return ranked[: round(BEST_PART * len(ranked))]


@dataclass(frozen=True)
class Row:
    """What a pruner came to in all shuffles.

    Args:
        pruner: its name.
        lanes: of the search.
        epochs: spent, as a part of all.
        kept: part of the shuffles with a finalist near the best.
        kept_by_seed: the same, of the curves of each seed.
        excess: of the best finalist over the best, relative, the mean of all shuffles.
        lost: part of the trials among the best ones that was stopped, by group: all, kinds, warm-ups.
        chances: number of these trials, by group.
    """

    pruner: str
    lanes: str
    epochs: float
    kept: float
    kept_by_seed: Mapping[int, float]
    excess: float
    lost: Mapping[str, float]
    chances: Mapping[str, int]


# Replays


def pruner_named(name: str, epochs: int, trials: int) -> Pruner:
    """Return a pruner as a search would have it, or the variant that begins later."""
    if name != LATER:
        return create_pruner(name, epochs, trials, WARMUP_FRACTION)
    first_epoch = math.ceil(WARMUP_FRACTION * epochs) + 1
    later = PercentilePruner(epochs, first_epoch, pruners.BEST_PART, pruners.LEAST_TRIALS)
    return LeadersGoOn(later, epochs)


def replay(curves: Sequence[Curve], epochs: int, pruner: Pruner, lanes: Lanes) -> Shuffle:
    """Train trials in their order, as workers of a search would, and return what came of it."""
    came = Shuffle(curves, epochs)
    losses: dict[int, dict[int, float]] = {}
    waiting = deque(range(len(curves)))
    workers: list[set[int]] = [set() for _ in range(lanes.workers)]
    while waiting or any(workers):
        for running in workers:
            while waiting and len(running) < lanes.lanes:
                running.add(waiting.popleft())
            running -= _train(running, losses, came, pruner)
    return came


def _train(running: set[int], losses: dict[int, dict[int, float]], came: Shuffle, pruner: Pruner) -> set[int]:
    """Train a worker's lanes for an epoch, and return the trials that ended."""
    for trial in running:
        epoch = len(losses.setdefault(trial, {})) + 1
        losses[trial][epoch] = came.curves[trial].losses[epoch - 1]
    came.spent += len(running)
    diverged = {trial for trial in running if losses[trial][len(losses[trial])] == math.inf}
    finished = {trial for trial in running - diverged if len(losses[trial]) == came.epochs}
    stopped = pruner.decide(losses, running - diverged - finished)
    came.finished += finished
    came.stopped |= stopped
    return diverged | finished | stopped


def measure(sets: Sequence[CurveSet], name: str, lanes: Lanes, shuffles: int, trials: int) -> Row:
    """Return what a pruner comes to in random orders of some trials of each set."""
    order = random.Random(0)  # the same orders for all pruners
    by_seed: dict[int, list[Shuffle]] = {}
    for each in sets:
        orders = [order.sample(each.curves, trials) for _ in range(shuffles)]
        pruner = pruner_named(name, each.epochs, trials)
        by_seed[each.seed] = [replay(curves, each.epochs, pruner, lanes) for curves in orders]
    came = list(chain.from_iterable(by_seed.values()))
    lost, chances = losses_of_the_best(came)
    return Row(
        pruner=name,
        lanes=str(lanes),
        epochs=mean(shuffle.part for shuffle in came),
        kept=_kept(came),
        kept_by_seed={seed: _kept(of_seed) for seed, of_seed in by_seed.items()},
        excess=mean(shuffle.excess for shuffle in came),
        lost=lost,
        chances=chances,
    )


def _kept(came: Iterable[Shuffle]) -> float:
    return mean(shuffle.excess <= WITHIN for shuffle in came)


def losses_of_the_best(came: Iterable[Shuffle]) -> tuple[dict[str, float], dict[str, int]]:
    """Return which part of the best trials was stopped, and how many they were, by group."""
    stopped: dict[str, list[bool]] = {}
    for shuffle in came:
        for trial in shuffle.best:
            for group in groups(shuffle.curves[trial]):
                stopped.setdefault(group, []).append(trial in shuffle.stopped)
    return {g: mean(v) for g, v in stopped.items()}, {g: len(v) for g, v in stopped.items()}


def groups(curve: Curve) -> tuple[str, ...]:
    """Return the groups that a trial counts in: all, its kind, and whether it warms up for long."""
    warmup = "warm-up of 10% or more" if curve.warmup_fraction >= WARMUP_FRACTION / 2 else "shorter warm-up"
    return "all", curve.kind, warmup


# Curves


def read(path: Path) -> list[CurveSet]:
    """Return the stored curves by seed."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [CurveSet(each["seed"], each["epochs"], tuple(map(_curve, each["trials"]))) for each in content]


def _curve(trial: Mapping[str, Any]) -> Curve:
    losses = tuple(math.inf if loss is None else float(loss) for loss in trial["valid_losses"])
    return Curve(trial["kind"], trial["warmup_fraction"], losses)


def train(study: str, seed: int, trials: int) -> dict[str, Any]:
    """Return curves as they are stored, at random points of a study's space, but of all kinds."""
    from lrsearch.service.optimize import load_onto_device
    from lrsearch.service.studies import resolved
    from lrsearch.service.tasks import find_task
    from lrsearch.training.eager import Models
    from lrsearch.training.fused.array import FusedArray
    from lrsearch.training.fused.fitting import Fit, fit

    kinds = [kind for kind in KINDS if kind != "constant"]
    spec = resolved(read_spec(shipped_studies()[study], {"seed": seed, "space.kinds": kinds}))
    points = random_points(spec, trials)
    task = find_task(spec)
    data = load_onto_device(spec, task)
    optimizer, epochs = spec.optimizer.name, spec.epochs or 1
    fitted = fit(task, data, Models(task, data.device).build(seed), optimizer, points[0])
    if not isinstance(fitted, Fit):
        raise TypeError(f"{spec.task} cannot be trained in lanes: {fitted.reason}")
    array = FusedArray(
        task, data, fitted, epochs=epochs, optimizer=optimizer, seed=seed, lanes=LANES_TOGETHER
    )
    stored = []
    for first in range(0, trials, LANES_TOGETHER):
        batch = dict(list(enumerate(points))[first : first + LANES_TOGETHER])
        stored += [_stored(batch[trial], losses) for trial, losses in _train_in_full(array, batch, epochs)]
        print(f"{study}, seed {seed}: {len(stored)} of {trials} trials", flush=True)
    return {"study": study, "seed": seed, "epochs": epochs, "trials": stored}


def random_points(spec: StudySpec, count: int) -> list[Hyperparameters]:
    """Return independent draws from a resolved specification's space."""
    space, generator = search_space(spec), np.random.default_rng(spec.seed)
    whole = [space.walk(lambda each: domain_of(each).at(float(generator.random()))) for _ in range(count)]
    return [hyperparameters(spec, space.searched_part(point)) for point in whole]


def _train_in_full(
    array: Any, points: Mapping[int, Hyperparameters], epochs: int
) -> list[tuple[int, list[float | None]]]:
    curves: dict[int, list[float | None]] = {trial: [] for trial in points}
    for trial, point in points.items():
        array.start(trial, point)
    for _ in range(epochs):
        for result in array.run_epoch():
            diverged = result.diverged(array.untrained_loss)
            curves[result.trial].append(None if diverged else round(result.valid_loss, 5))
            if diverged:
                array.drop([result.trial])
    array.drop(list(points))
    return list(curves.items())


def _stored(point: Hyperparameters, losses: list[float | None]) -> dict[str, Any]:
    values = {name: float(f"{value:.4g}") for name, value in (("lr", point.lr), *point.optimizer.items())}
    searched = {"lr": values["lr"], "momentum": values["momentum"]}
    warmup_fraction = round(point.warmup_fraction, 4)
    return {"kind": point.kind, "warmup_fraction": warmup_fraction, **searched, "valid_losses": losses}


def write(sets: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Store curves, a trial in each line."""
    parts = []
    for each in sets:
        trials = ",\n".join(json.dumps(trial, separators=(",", ":")) for trial in each["trials"])
        head = json.dumps({name: value for name, value in each.items() if name != "trials"})
        parts.append(f'{head[:-1]}, "trials": [\n{trials}\n]}}')
    path.write_text("[" + ",\n".join(parts) + "]\n", encoding="utf-8")


# Tables


def markdown(rows: Sequence[Row]) -> str:
    """Return the tables of what the pruners came to."""
    lines = [
        "| lanes | pruner | epochs | finalist kept | by seed | excess |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        excess = f"{row.excess:.2%}" if math.isfinite(row.excess) else "none finished"
        seeds = ", ".join(f"{kept:.0%}" for kept in row.kept_by_seed.values())
        kept = f"{row.kept:.0%} | {seeds}"
        lines.append(f"| {row.lanes} | {row.pruner} | {row.epochs:.1%} | {kept} | {excess} |")
    first = [row for row in rows if row.lanes == rows[0].lanes and row.pruner != "none"]
    named = sorted(
        set(chain.from_iterable(row.lost for row in first)), key=lambda g: (-first[0].chances[g], g)
    )
    lines += [
        "",
        f"Of the best tenth of the trials, the part that was stopped; {rows[0].lanes}:",
        "",
        f"| group | trials | {' | '.join(row.pruner for row in first)} |",
        f"| --- | ---: |{' ---: |' * len(first)}",
    ]
    for group in named:
        parts = " | ".join(f"{row.lost[group]:.0%}" for row in first)
        lines.append(f"| {group} | {first[0].chances[group]} | {parts} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay all pruners, or train the curves again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--curves", type=Path, default=CURVES, help="file of the curves")
    parser.add_argument("--train", action="store_true", help="make the curves again; 30 minutes on a core")
    parser.add_argument("--study", default="mnist-tpe", help="shipped study to train")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="of the training")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each seed, or of each shuffle")
    parser.add_argument("--shuffles", type=int, default=20, help="of each seed")
    parser.add_argument("--json", type=Path, help="file that the figures are written to")
    parser.add_argument("--markdown", type=Path, help="file that the tables are written to")
    options = parser.parse_args(arguments)
    if options.train:
        write([train(options.study, seed, options.trials) for seed in options.seeds], options.curves)
        return
    sets = read(options.curves)
    searches = (Lanes(2, 8), Lanes(1, 1))
    rows = [
        measure(sets, name, lanes, options.shuffles, options.trials) for lanes in searches for name in NAMES
    ]
    print(markdown(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    if options.markdown:
        text = f"# Pruners compared\n\n{__doc__}\n{markdown(rows)}"
        options.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
