"""The printed lines of PyTorch of own schedules run where the user's file can be imported."""

import importlib
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrsearch.review.wording import described, pytorch_lines
from lrsearch.schedules import Hyperparameters, Schedule, declare_unloaded, kinds, register

EPOCHS, STEPS_PER_EPOCH = 6, 5
FILES = {
    "own_lines": "some.where/own_lines.py",
    "own-lines-2": "own-lines-2.py",
    "own_lines_package.inside": "own_lines_package.inside",
}
CODE = """
import math
import numpy as np
from lrsearch.parameters import Choice, Range
from lrsearch.schedules.own import schedule

@schedule(power=Range(0.3, 3.0, log=True), mode=Choice(("{plain}", "'quoted'")))
def one_over_sqrt(progress, power, mode):
    assert (progress < 1).all()
    out = np.ones_like(progress)
    out[progress > 0] = 1 / np.sqrt(1 + power * progress[progress > 0])
    return out * (1.0 if mode == "{plain}" else 0.5)

@schedule(elementwise=True, power=Range(0.3, 3.0))
def t(progress, power):
    assert 0 <= progress < 1
    return math.pow(1 - progress, power)

@schedule(feedback=True, factor=Range(0.1, 0.9))
def scheduler(progress, losses, factor):
    assert 0 <= progress < 1
    return factor ** sum(late >= early for early, late in zip(losses, losses[1:])) * (1 - progress / 2)
"""
NAMES = ("one_over_sqrt", "t", "scheduler")


@pytest.fixture(scope="module", autouse=True)
def references(tmp_path_factory):
    """Write the user's files where they can be imported, register what they declare, and clean up."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_lines_package").mkdir()
    (folder / "own_lines_package" / "__init__.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "_registered", {})
        patch.syspath_prepend(folder)
        for module, place in FILES.items():
            path = folder / f"{module.replace('.', '/')}.py"
            path.write_text(CODE, encoding="utf-8")
            code = importlib.import_module(module)
            for name in NAMES:
                register(f"{place}:{name}", getattr(code, name))
        yield
        for module in [*FILES, "own_lines_package"]:
            del sys.modules[module]


def trained(lines, losses):
    """Run the lines, train as their comments say, and return the learning rate of every update."""
    scope = {"torch": torch, "model": torch.nn.Linear(1, 1)}
    exec("\n".join(lines), scope)
    comments = [line for line in lines if line.startswith("# ")]
    by_step = comments[0].startswith("# scheduler.step() after every update")
    append_first = "valid_losses.append(valid_loss)" in comments[-1]
    optimizer, lrs = scope["optimizer"], []
    for loss in losses:
        for step in range(STEPS_PER_EPOCH):
            lrs.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            last = step == STEPS_PER_EPOCH - 1
            if last and append_first:
                scope["valid_losses"].append(loss)
            if by_step or last:
                scope["scheduler"].step()
    return np.array(lrs)


def searched(schedule, losses):
    """Return the learning rates of a run with these losses, as the search trains it."""
    state, lrs = schedule.start(), []
    for epoch, loss in enumerate(losses):
        lrs.append(schedule.epoch_lrs(epoch, state))
        state = schedule.update(state, loss)
    return np.concatenate(lrs)


@pytest.mark.parametrize("place", FILES.values())
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_lines_train_with_the_searched_learning_rates(place, name, data):
    """Pasted, and stepped as the comments say, warm-up and feedback included."""
    kind = kinds.kind_named(f"{place}:{name}")
    knobs = {
        knob.name: knob.default.at(data.draw(st.floats(0, 1)))
        for knob in kind.knobs
        if knob.default is not True
    }
    warmup = data.draw(st.just(0.0) | st.floats(0.1, 0.6))
    point = Hyperparameters(data.draw(st.floats(1e-3, 5.0)), kind.name, knobs, warmup)
    losses = data.draw(st.lists(st.floats(0.1, 3.0), min_size=EPOCHS, max_size=EPOCHS))
    expected = searched(Schedule(point, EPOCHS, STEPS_PER_EPOCH), losses)
    found = trained(pytorch_lines("SGD", point, EPOCHS, STEPS_PER_EPOCH), losses)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "place", "line"),
    [
        ("one_over_sqrt", "some.where/own_lines.py", "from own_lines import one_over_sqrt"),
        ("one_over_sqrt", "own_lines_package.inside", "from own_lines_package.inside import one_over_sqrt"),
        ("t", "some.where/own_lines.py", "from own_lines import t as own_schedule"),
        ("scheduler", "some.where/own_lines.py", "from own_lines import scheduler as own_schedule"),
    ],
)
def test_the_lines_import_the_function_by_its_reference(name, place, line):
    """Under another name where its own stands for something else in the lines."""
    assert line in pytorch_lines("SGD", Hyperparameters(0.1, f"{place}:{name}"), 2, 2)


def test_without_the_code_a_trial_is_described_and_its_lines_are_written():
    """Words and lines of a stored study are those that its code's owner sees."""
    reference = "some.where/own_lines.py:scheduler"
    point = Hyperparameters(0.1, reference, {"factor": 0.25})
    words, lines = described(point), pytorch_lines("SGD", point, 3, 4)
    assert words == "lr 0.1, some.where/own_lines.py:scheduler(factor 0.25)"
    stored = {knob.name: knob.default for knob in kinds.kind_named(reference).knobs}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "_registered", {})
        declare_unloaded(reference, stored)
        point = Hyperparameters.from_point(point.to_point())
        assert described(point) == words
        assert pytorch_lines("SGD", point, 3, 4) == lines
