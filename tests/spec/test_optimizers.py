"""The table of optimizers against the signatures of their classes."""

import inspect

import pytest
import schedulefree
import torch

from lrsearch.errors import SpecError, UnknownNameError
from lrsearch.parameters import Choice, Range
from lrsearch.spec import OPTIMIZERS, resolve, search_space, spec_from

# They change the speed, not the result; maximize turns the sign of the loss.
LEFT_TO_PYTORCH = {"foreach", "fused", "capturable", "differentiable", "maximize"}
THE_SCHEDULES = {"warmup_steps"}  # our schedules have a warm-up of their own


def classes():
    """Return the optimizers that torch.optim has, and the schedule-free ones, by name."""
    found = {name: value for name, value in vars(torch.optim).items() if inspect.isclass(value)}
    optimizer = torch.optim.Optimizer
    torchs = {name: c for name, c in found.items() if issubclass(c, optimizer) and c is not optimizer}
    schedule_free = (schedulefree.SGDScheduleFree, schedulefree.AdamWScheduleFree)
    return torchs | {each.__name__: each for each in schedule_free}


def signature(name):
    """Return the defaults of an optimizer's own arguments, the learning rate among them."""
    parameters = inspect.signature(classes()[name]).parameters
    left_out = {"params", *LEFT_TO_PYTORCH, *THE_SCHEDULES}
    return {key: parameters[key].default for key in parameters if key not in left_out}


def specification(**optimizer):
    """Return the resolved specification of a study with an optimizer."""
    content = {"name": "s", "task": "digits-mlp", "trials": 3, "epochs": 10, "optimizer": optimizer}
    return resolve(spec_from(content, "test"), 20, 32)


def test_every_optimizer_of_pytorch_is_offered():
    """By its class name, none more and none less."""
    assert set(OPTIMIZERS) == set(classes())
    assert all(kind.name == name for name, kind in OPTIMIZERS.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_arguments_and_defaults_are_those_of_pytorchs_signature(name):
    """Nothing is missing, nothing invented; the usual learning rate lies in the range that is searched."""
    expected = signature(name)
    assert OPTIMIZERS[name].lr.contains(expected.pop("lr"))
    assert OPTIMIZERS[name].arguments({}) == expected


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_usual_values_lie_within_the_limits(name):
    """So that a study file may say what holds anyway."""
    for knob in OPTIMIZERS[name].knobs.values():
        assert knob.limits.contains(knob.usual)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pytorch_accepts_the_limits(name):
    """Each knob at either end of its limits, the others as usual, makes an optimizer."""
    for key, knob in OPTIMIZERS[name].knobs.items():
        limits = knob.limits
        ends = limits.options if isinstance(limits, Choice) else (limits.low, limits.high)
        for value in ends:
            beside = {"momentum": 0.9} if (name, key) == ("SGD", "nesterov") else {}
            arguments = OPTIMIZERS[name].arguments({key: value, **beside})
            classes()[name]([torch.nn.Parameter(torch.zeros(2, 2))], lr=0.1, **arguments)


def test_pairs_are_searched_in_their_parts():
    """A part that is not named takes its usual value."""
    assert OPTIMIZERS["Adam"].arguments({"beta2": 0.95})["betas"] == (0.9, 0.95)
    assert OPTIMIZERS["Rprop"].arguments({"eta_plus": 1.5})["etas"] == (0.5, 1.5)
    assert OPTIMIZERS["Rprop"].arguments({"step_size_min": 0.1})["step_sizes"] == (0.1, 50.0)
    assert OPTIMIZERS["Adafactor"].arguments({"eps1": 1e-30})["eps"] == (1e-30, 1e-3)
    assert OPTIMIZERS["Muon"].arguments({"ns_coefficient_a": 3})["ns_coefficients"] == (3.0, -4.775, 2.0315)


def test_texts_stand_for_what_a_study_file_cannot_write():
    """PyTorch's None, where it means no line search, or a default that is no number."""
    lbfgs = OPTIMIZERS["LBFGS"].arguments
    assert lbfgs({"line_search_fn": "none", "max_eval": "default"}) == lbfgs({})
    assert lbfgs({"line_search_fn": "strong_wolfe"})["line_search_fn"] == "strong_wolfe"
    assert lbfgs({"max_eval": 7})["max_eval"] == 7
    assert OPTIMIZERS["Adafactor"].arguments({"eps1": "default"})["eps"][0] is None


def test_numbers_have_the_type_that_pytorch_wants():
    """TOML's 0 is a whole number where 0.0 is meant, and a sampler's 20.0 a float where 20 is."""
    assert isinstance(OPTIMIZERS["Adam"].arguments({"beta1": 0})["betas"][0], float)
    assert isinstance(OPTIMIZERS["LBFGS"].arguments({"history_size": 20.0})["history_size"], int)


def test_an_unknown_argument_is_refused_with_the_nearest_name():
    """Whoever asks: the table itself, or a study file."""
    with pytest.raises(UnknownNameError, match=r"parameter of RMSprop 'momentun'\. Did you mean 'momentum'"):
        OPTIMIZERS["RMSprop"].arguments({"momentun": 0.9})
    with pytest.raises(SpecError, match=r"'optimizer\.momentun'\. Did you mean 'momentum'"):
        specification(name="RMSprop", momentun=0.9)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"name": "Rprop", "eta_plus": 0.9}, r"optimizer\.eta_plus must lie within 1"),
        (
            {"name": "LBFGS", "max_iter": 2.5},
            r"optimizer\.max_iter must lie within 1\.\.10000, whole numbers",
        ),
        ({"name": "LBFGS", "line_search_fn": "wolfe"}, r"line_search_fn must be none \| strong_wolfe"),
        (
            {"name": "LBFGS", "max_eval": "many"},
            r'max_eval must lie within .* or be "default", but got \'many\'',
        ),
        (
            {"name": "Adafactor", "eps1": -1},
            r'optimizer\.eps1 must lie within 0\.\.1, or be "default", but got -1',
        ),
        ({"name": "SparseAdam", "eps": 0}, r"optimizer\.eps must lie within"),
    ],
)
def test_a_value_out_of_limits_is_refused(optimizer, message):
    """With the limits, before PyTorch sees it."""
    with pytest.raises(SpecError, match=message):
        specification(**optimizer)


def test_whole_numbers_are_searched_as_such():
    """A range of iterations draws no fractions."""
    spec = specification(name="LBFGS", max_iter={"low": 5, "high": 20})
    [max_iter] = [parameter for parameter in search_space(spec).parameters if parameter.name == "max_iter"]
    assert max_iter.domain == Range(5, 20, integer=True)


def test_nesterov_needs_momentum_of_sgd_alone():
    """Muon's works without, as PyTorch has it."""
    assert specification(name="Muon", momentum=0.0).optimizer.knobs["nesterov"] is True
    with pytest.raises(SpecError, match="nesterov = true needs momentum above 0"):
        specification(name="SGD", nesterov=True)
