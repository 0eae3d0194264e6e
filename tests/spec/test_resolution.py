"""What a study does when its file leaves something open, and when it is the same study as before."""

import pytest

from lrsearch.errors import SpecError, StudyConflictError
from lrsearch.parameters import Choice, Condition, Parameter, Range
from lrsearch.schedules import DEFAULT_KINDS, KINDS
from lrsearch.spec import (
    OPTIMIZERS,
    check_same_study,
    largest_warmup_fraction,
    resolve,
    search_space,
    spec_from,
)


def specification(**keys):
    """Return the resolved specification of a study of ten epochs."""
    content = {"name": "s", "task": "digits-mlp", "trials": 3, "epochs": 10, **keys}
    return resolve(spec_from(content, "test"), 20, 32)


def parameters(**keys):
    """Return the parameters of a study by name."""
    return {parameter.name: parameter for parameter in search_space(specification(**keys)).parameters}


def test_what_a_file_leaves_open_is_the_tasks():
    """Epochs and batch size; a file's own go first."""
    spec = resolve(spec_from({"name": "s", "task": "digits-mlp", "trials": 3}, "test"), 20, 32)
    assert (spec.epochs, spec.batch_size) == (20, 32)
    assert specification(batch_size=8).batch_size == 8


def test_seven_kinds_are_searched_unless_told_otherwise():
    """With warm-up of none or 5 to 20 percent, and each kind's own ranges."""
    spec = specification()
    assert tuple(spec.space.kinds) == DEFAULT_KINDS
    assert spec.space.knobs["StepLR"]["gamma"] == Range(0.05, 0.9, log=True)
    found = parameters()
    assert found["warmup"].domain == Choice((False, True))
    assert found["warmup_fraction"].domain == Range(0.05, 0.2)
    assert found["warmup_fraction"].condition == Condition("warmup", frozenset({True}))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_brings_its_learning_rates_and_pytorchs_defaults(name):
    """Its own range of learning rates is searched; knobs that are not named are fixed."""
    spec = specification(optimizer={"name": name})
    assert spec.space.lr == OPTIMIZERS[name].lr
    usual = {knob: OPTIMIZERS[name].knobs[knob].usual for knob in OPTIMIZERS[name].knobs}
    assert spec.optimizer.knobs == usual
    assert all(parameters(optimizer={"name": name})[knob].fixed for knob in usual)


@pytest.mark.parametrize(
    ("sampler", "first", "pruner"),
    [("tpe", True, "percentile"), ("random", True, "percentile"), ("coarse-to-fine", False, "none")],
)
def test_recipes_and_pruning_are_for_samplers_that_do_not_scan(sampler, first, pruner):
    """A scan prescribes every point and wants each one whole, unless the file asks for pruning."""
    assert specification(sampler=sampler).first_trials is first
    assert specification(sampler=sampler).pruner == pruner
    assert specification(sampler=sampler, pruner="median").pruner == "median"


@pytest.mark.parametrize(("epochs", "longest"), [(1, 0), (2, 0), (4, 1), (8, 2), (25, 6)])
def test_the_patience_that_is_searched_grows_with_the_budget(epochs, longest):
    """From 0 to a quarter of the epochs, whole numbers."""
    patience = specification(epochs=epochs).space.knobs["ReduceLROnPlateau"]["patience"]
    assert patience == Range(0, longest, integer=True)


@pytest.mark.parametrize(("epochs", "longest"), [(5, 2), (10, 7), (25, 22)])
def test_the_longest_patience_is_one_after_which_an_epoch_is_left(epochs, longest):
    """One epoch improves, patience + 1 do not, one trains with the lower learning rate."""
    specification(epochs=epochs, space={"ReduceLROnPlateau": {"patience": longest}})
    with pytest.raises(SpecError, match=rf"at most {longest} to act within {epochs} epochs"):
        specification(epochs=epochs, space={"ReduceLROnPlateau": {"patience": [0, longest + 1]}})


@pytest.mark.parametrize(
    ("written", "domain", "largest"),
    [
        (0.1, 0.1, 0.1),
        (0.0, 0.0, 0.0),
        ([0.0, 0.05, 0.1], Choice((0.0, 0.05, 0.1)), 0.1),
        ({"low": 0.0, "high": 0.2}, Range(0.0, 0.2), 0.2),
    ],
)
def test_a_warm_up_is_a_number_a_list_or_a_range(written, domain, largest):
    """It exists beside the kinds that do not rise by themselves."""
    space = {"warmup_fraction": written, "kinds": ["WSD", "OneCycleLR", "LinearLR"]}
    condition = Condition("kind", frozenset({"WSD", "LinearLR"}))
    found = parameters(space=space)
    assert found["warmup_fraction"] == Parameter("warmup_fraction", domain, condition)
    assert "warmup" not in found
    assert largest_warmup_fraction(specification(space=space)) == largest


def test_a_warm_up_may_be_zero_or_in_a_range():
    """Then whether there is one is a parameter of its own."""
    space = {"warmup_fraction": {"low": 0.1, "high": 0.3, "or_zero": True}, "kinds": ["constant"]}
    found = parameters(space=space)
    assert found["warmup"] == Parameter(
        "warmup", Choice((False, True)), Condition("kind", frozenset({"constant"}))
    )
    assert found["warmup_fraction"].domain == Range(0.1, 0.3)
    assert largest_warmup_fraction(specification(space=space)) == 0.3


def test_kinds_that_rise_by_themselves_have_no_warm_up():
    """Where no other kind is listed, there is no parameter for it."""
    found = parameters(space={"kinds": ["OneCycleLR", "CyclicLR", "Sine"]})
    assert not {"warmup", "warmup_fraction"} & set(found)


def test_one_kind_is_fixed_and_several_are_a_choice():
    """In the order of the file."""
    assert parameters(space={"kinds": ["Sine"]})["kind"] == Parameter("kind", "Sine")
    assert parameters(space={"kinds": ["Sine", "WSD"]})["kind"].domain == Choice(("Sine", "WSD"))


def test_knobs_exist_beside_their_kind_and_mode():
    """The end of an exponential damping exists in that mode alone."""
    found = parameters(space={"kinds": ["CyclicLR", "StepLR"]})
    assert found["StepLR.gamma"].condition == Condition("kind", frozenset({"StepLR"}))
    assert found["CyclicLR.final_factor"].condition == Condition("CyclicLR.mode", frozenset({"exp_range"}))
    assert set(found) >= {f"CyclicLR.{knob.name}" for knob in KINDS["CyclicLR"].knobs}


def test_parents_stand_before_their_children():
    """A walk down the list never meets a condition on a parameter that comes later."""
    seen = set()
    for parameter in parameters(space={"kinds": list(KINDS)}).values():
        assert parameter.condition is None or parameter.condition.parent in seen
        seen.add(parameter.name)


def test_whole_numbers_stay_whole_however_they_are_written():
    """2.0 epochs of patience are 2."""
    space = {"kinds": ["CyclicLR"], "CyclicLR": {"cycles": [1.0, 2]}}
    cycles = specification(space=space).space.knobs["CyclicLR"]["cycles"]
    assert [type(option) for option in cycles.options] == [int, int]
    fixed = specification(space={"ReduceLROnPlateau": {"patience": 2.0}})
    assert type(fixed.space.knobs["ReduceLROnPlateau"]["patience"]) is int


def test_the_same_study_may_grow_and_run_elsewhere():
    """Trials and [run] are no part of what a study is."""
    stored = specification().identity()
    check_same_study(stored, specification())
    check_same_study(stored, specification(trials=1000, run={"lanes": 8, "device": "cpu", "timeout_s": 5}))


def test_another_specification_is_refused_with_all_that_differs():
    """Every changed key with both values, in the file's names, and nothing that did not change."""
    stored = specification().identity()
    other = specification(
        seed=1,
        sampler="random",
        optimizer={"momentum": 0.9},
        space={"lr": {"low": 1e-3, "high": 1.0, "log": True}, "warmup_fraction": 0.1, "kinds": ["WSD"]},
    )
    with pytest.raises(StudyConflictError) as refused:
        check_same_study(stored, other)
    first, *lines, last = str(refused.value).splitlines()
    assert first == "study 's' exists with another specification:"
    shown = {line.split(":")[0].strip(): line.split(": ")[1] for line in lines}
    assert shown["seed"] == "stored 0, now 1"
    assert shown["sampler"] == "stored 'tpe', now 'random'"
    assert shown["optimizer.momentum"] == "stored 0.0, now 0.9"
    assert shown["space.lr.high"] == "stored 5.0, now 1.0"
    assert shown["space.warmup_fraction"] == "stored not set, now 0.1"
    assert shown["space.StepLR.gamma.low"] == "stored 0.05, now not set"
    assert not {"trials", "epochs", "space.lr.low", "space.WSD.decay_fraction.low"} & set(shown)
    assert last.endswith("lrsearch optimize s")


def test_the_way_back_can_be_pasted_into_a_shell():
    """A name with a space is quoted."""
    stored = specification(name="a b").identity()
    with pytest.raises(StudyConflictError, match=r"lrsearch optimize 'a b'$"):
        check_same_study(stored, specification(name="a b", seed=3))
