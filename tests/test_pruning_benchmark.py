"""The benchmark of the pruners: replays against what can be counted by hand, and a fraction of its work."""

import json
import math
from dataclasses import dataclass, field

import pytest

from benchmarks import pruning
from benchmarks.pruning import Curve, Lanes, measure, read, replay
from lrsearch.search.pruners import PRUNERS, NoPruner

EPOCHS = 4
ONE_LANE = Lanes(1, 1)


def curve(*losses: float) -> Curve:
    """Return the curve of a trial."""
    return Curve("LinearLR", 0.0, losses)


@dataclass
class Watching:
    """Stops given trials at epoch 2, and remembers how far the candidates were when it was asked."""

    stops: frozenset[int] = frozenset()
    seen: list[dict[int, int]] = field(default_factory=list)

    def decide(self, losses, candidates) -> set[int]:
        """Return the candidates to stop."""
        self.seen.append({trial: max(losses[trial]) for trial in candidates})
        return {trial for trial in candidates if trial in self.stops and max(losses[trial]) == 2}


@pytest.mark.parametrize("lanes", [ONE_LANE, Lanes(1, 3), Lanes(2, 2), Lanes(3, 20)])
def test_without_a_pruner_all_is_spent(lanes):
    """All trials run to their end, however many lanes there are; a diverged one ends where it diverged."""
    curves = [*[curve(4, 3, 2, 1)] * 6, curve(5, math.inf)]
    came = replay(curves, EPOCHS, NoPruner(), lanes)
    assert sorted(came.finished) == list(range(6))
    assert (came.spent, came.stopped, came.excess) == (6 * EPOCHS + 2, set(), 0)


def test_a_stopped_trial_makes_room_at_once():
    """Its lane goes to the next trial, and the epochs after it are not spent."""
    pruner = Watching(frozenset({0}))
    came = replay([curve(4, 3, 2, 1)] * 3, EPOCHS, pruner, Lanes(1, 2))
    assert pruner.seen == [{0: 1, 1: 1}, {0: 2, 1: 2}, {1: 3, 2: 1}, {2: 2}, {2: 3}, {}]
    assert (came.spent, came.stopped, sorted(came.finished)) == (2 + 4 + 4, {0}, [1, 2])


def test_workers_take_turns():
    """Each worker's lanes are judged together, one worker after the other."""
    pruner = Watching()
    replay([curve(4, 3, 2, 1)] * 4, EPOCHS, pruner, Lanes(2, 2))
    assert [sorted(candidates) for candidates in pruner.seen[:4]] == [[0, 1], [2, 3], [0, 1], [2, 3]]


def test_excess_and_losses_are_those_of_the_best():
    """Where the best trial is stopped, the finalist's excess and the lost part tell so."""
    curves = [curve(4, 3, 2, 1.0), curve(4, 3, 2, 1.5), *[curve(4, 3, 2, 2.0)] * 8]
    came = replay(curves, EPOCHS, Watching(frozenset({0})), ONE_LANE)
    assert (came.excess, came.best) == (0.5, [0])
    lost, chances = pruning.losses_of_the_best([came])
    assert lost == {"all": 1, "LinearLR": 1, "shorter warm-up": 1}
    assert set(chances.values()) == {1}


def test_the_stored_curves_are_of_all_kinds_and_whole():
    """Every stored trial has all its epochs, or ends with its divergence; all kinds are among them."""
    sets = read(pruning.CURVES)
    assert [len(each.curves) for each in sets] == [pruning.TRIALS] * len(pruning.SEEDS)
    assert {each.kind for each in sets[0].curves} == set(pruning.KINDS) - {"constant"}
    for each in sets:
        assert all(len(c.losses) == each.epochs or c.losses[-1] == math.inf for c in each.curves)
        assert all(math.isfinite(loss) for c in each.curves for loss in c.losses[:-1])


@pytest.mark.slow
def test_percentile_keeps_a_finalist_for_a_third_of_the_epochs():
    """On the stored curves a finalist near the best survives in at least 90% of the shuffles of each seed."""
    row = measure(read(pruning.CURVES), "percentile", Lanes(2, 8), shuffles=20, trials=pruning.TRIALS)
    assert row.epochs <= 1 / 3
    assert min(row.kept_by_seed.values()) >= 0.9


@pytest.mark.slow
def test_the_benchmark_trains_curves_and_prints_its_tables(tmp_path, capsys):
    """A few trials of the digits, trained and replayed."""
    curves, figures = tmp_path / "curves.json", tmp_path / "figures.json"
    few = ["--curves", str(curves), "--trials", "12"]
    pruning.main(["--train", "--study", "digits-tpe", "--seeds", "0", *few])
    pruning.main([*few, "--shuffles", "2", "--json", str(figures)])
    printed = capsys.readouterr().out
    assert all(f"| 2 x 8 lanes | {name} |" in printed for name in PRUNERS)
    rows = json.loads(figures.read_text(encoding="utf-8"))
    assert [row["pruner"] for row in rows] == [*pruning.NAMES] * 2
    assert all(0 < row["epochs"] <= 1 for row in rows)
