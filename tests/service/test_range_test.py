"""What a study makes of a range test."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lrsearch.errors import InputError, SpecError
from lrsearch.lr_range import Growth, LaneCurve, RangeTest, find_zones, suggestions
from lrsearch.search.first_trials import first_trials
from lrsearch.service.optimize import load_onto_device
from lrsearch.service.range_test import RangeTestPlan, find_range, with_range_test
from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import OPTIMIZERS, search_space, spec_from
from lrsearch.storage.database import open_database
from lrsearch.storage.range_tests import list_range_tests
from lrsearch.training.groups import set_lr
from lrsearch.training.optimizers import build_optimizer
from tests.api.tasks import regression

TABLE = {"name": "tested", "task": "digits-mlp", "trials": 8, "epochs": 6}


def synthetic(bottom=0.5, seeds=3):
    """Return a test whose loss falls from lr 0.01 to 0.3 and then rises."""
    growth = Growth("exponential", 1e-5, 10.0, 200)
    position = np.log10(growth.lrs())
    losses = 2.3 - (2.3 - bottom) * np.clip((position + 2) / 1.5, 0, 1) + 5 * np.clip(position + 0.5, 0, None)
    lanes = tuple(LaneCurve(seed, 2.3, tuple(losses)) for seed in range(seeds))
    return RangeTest("digits-mlp", growth, lanes)


def study(**changes):
    """Return a resolved study of the digits."""
    return resolved(spec_from({**TABLE, **changes}, "test"))


def found(database, spec, plan):
    """Run and store a range test of the regression."""
    return find_range(database, spec, regression(), load_onto_device(spec, regression()), plan)


@pytest.fixture
def database(tmp_path):
    """An empty SQLite database."""
    with open_database(f"sqlite:///{tmp_path / 'range.db'}") as opened:
        yield opened


def test_the_interval_widened_by_three_bounds_the_search():
    """And nothing else of the study changes."""
    before, test = study(), synthetic()
    after = with_range_test(before, test)
    interval = suggestions(test).interval
    assert after.space.lr.low == pytest.approx(interval.low / 3, rel=0.05)
    assert after.space.lr.high == pytest.approx(interval.high * 3, rel=0.05)
    assert after.space.lr.log
    same = after.replace(space=before.space, range_test=None)
    assert same == before


def test_its_suggestions_become_first_trials():
    """Recipes start at the consensus; every other rule's rate gets linear decay."""
    spec = with_range_test(study(), synthetic())
    points = first_trials(spec).points
    lrs = spec.range_test.lrs
    assert {points[name]["lr"] for name in ("linear decay", "cosine decay")} == {lrs[0]}
    assert [points[f"linear decay from {lr:g}"]["lr"] for lr in lrs[1:]] == lrs[1:]


def test_cyclical_kinds_begin_between_the_ends_of_the_interval():
    """The peak is the interval's end, the base its beginning, as far as the knob's range allows."""
    kinds = ["OneCycleLR", "CyclicLR", "Sine"]
    spec = with_range_test(study(space={"kinds": kinds}), synthetic())
    points, found = first_trials(spec).points, spec.range_test
    for kind in kinds:
        assert points[f"{kind} over the range test's interval"]["lr"] == found.high
    base = points["CyclicLR over the range test's interval"]["CyclicLR.base_factor"]
    assert base == pytest.approx(min(max(found.low / found.high, 0.01), 0.5))
    rise = points["OneCycleLR over the range test's interval"]["OneCycleLR.div_factor"]
    assert rise == pytest.approx(min(max(found.high / found.low, 3), 100))


def test_first_trials_of_a_range_test_lie_in_the_space():
    """Each is a whole point of the study, so that its slot can be trained."""
    spec = with_range_test(study(), synthetic())
    for point in first_trials(spec).points.values():
        search_space(spec).complete(point)


def test_a_loss_that_never_falls_bounds_no_search():
    """The error says where to look."""
    flat = replace(synthetic(), lanes=(LaneCurve(0, 2.3, (2.3,) * 200),))
    assert find_zones(flat).falling is None
    with pytest.raises(InputError, match="never falls"):
        with_range_test(study(), flat)


def test_a_test_is_stored_under_the_name_of_the_study_task(database):
    """With its curve; with zoom both tests are, the slower one is returned."""
    spec = resolved(spec_from({**TABLE, "task": "line (Python object)", "batch_size": 32}, "test"))
    test = found(database, spec, RangeTestPlan(steps=40, seeds=2, zoom=True))
    slow, fast = list_range_tests(database, "line (Python object)")
    assert slow.test == test
    assert (fast.test.growth.low, fast.test.growth.high) == (1e-6, 10.0)
    assert fast.test.growth.low <= slow.test.growth.low < slow.test.growth.high <= fast.test.growth.high
    assert slow.test.growth.steps == fast.test.growth.steps == 40


def test_epochs_are_counted_in_the_task_own_updates(database):
    """Two epochs of four updates make a test of eight, which is too short to say anything."""
    spec = resolved(spec_from({**TABLE, "task": "line (Python object)", "batch_size": 32}, "test"))
    with pytest.raises(SpecError, match="at least 20 steps"):
        found(database, spec, RangeTestPlan(epochs=2))
    test = found(database, spec, RangeTestPlan(epochs=6, seeds=1))
    assert test.growth.steps == 24


@pytest.mark.parametrize("wrong", [{"steps": 50, "epochs": 2}, {"seeds": 0}, {"epochs": 0}])
def test_a_wrong_plan_is_refused(wrong):
    """Before anything is trained."""
    with pytest.raises(SpecError, match=r"--(steps|seeds|epochs)"):
        RangeTestPlan(**wrong)


def test_an_optimizer_that_does_not_follow_the_rate_has_no_range_test(database):
    """Rprop uses it once: the curve would not depend on it, and nothing is trained or stored."""
    spec = study(optimizer={"name": "Rprop"})
    with pytest.raises(SpecError, match=r"Rprop uses it in its first update alone.*Search lr instead"):
        found(database, spec, RangeTestPlan(steps=40))
    assert list_range_tests(database, spec.task) == []


def test_rprop_does_not_follow_its_learning_rate_and_all_others_do():
    """As PyTorch has them: updates that begin with the same rate differ by the later ones."""
    for name, kind in OPTIMIZERS.items():
        assert kind.follows_lr == (weight_after(name, 0.01) != weight_after(name, 1e-4)), name


def weight_after(name, later_lr):
    """Return a weight after three updates with one gradient; ASGD uses a rate one update late."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = build_optimizer(name, [weight], 0.1, {})

    def loss():
        weight.grad = torch.eye(2).to_sparse() if name == "SparseAdam" else torch.eye(2) + 0.5
        return weight.detach().sum()

    for lr in (0.1, later_lr, later_lr):
        set_lr(optimizer, lr)
        loss()
        optimizer.step(loss)
    return weight[0, 0].item()


def test_a_new_study_says_where_schedules_change_nothing(database):
    """With Rprop, unless lr alone is searched; once, when the study is made."""
    spec = study(name="rprop", optimizer={"name": "Rprop"})
    [note] = [note for note in open_study(database, spec).notes if "Rprop" in note]
    assert 'kinds = ["constant"] and warmup_fraction = 0' in note
    assert not open_study(database, spec).notes
    lr_alone = study(
        name="lr", optimizer={"name": "Rprop"}, space={"kinds": ["constant"], "warmup_fraction": 0.0}
    )
    for other in (lr_alone, study(name="sgd")):
        assert not [note for note in open_study(database, other).notes if "first update" in note]
