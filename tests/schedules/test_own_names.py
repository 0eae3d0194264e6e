"""Canonical names of own schedules' parameters: a reference contains dots, slashes and a colon."""

import json

import optuna
import pytest

from lrsearch.errors import SpecError
from lrsearch.parameters import Choice, Range
from lrsearch.schedules import Hyperparameters, declare_unloaded, kinds, register
from lrsearch.schedules.own import schedule
from lrsearch.search.first_trials import first_trials
from lrsearch.search.flat_space import FlatSpace
from lrsearch.search.space import distributions, suggest
from lrsearch.spec import StudySpec, resolve, search_space, spec_from
from lrsearch.storage.database import open_database

REFERENCES = ("my.v1/own.py:shrink", "package.module:shrink", "package.module:shrink.inner", "own.py:f")


@schedule(feedback=True, factor=Range(0.1, 0.9), patience=Range(0, 3, integer=True), mode=Choice(("a", "b")))
def shrink(progress, losses, factor, patience, mode):  # noqa: ARG001 # declared, not used
    """Fall with every epoch."""
    return float(factor ** len(losses))


@schedule(warmup=False, power=2.0)
def plain(progress, power):
    """Take no warm-up, and nothing that is searched."""
    return progress**power


@schedule(gain=Range(1, 5), cuts=Range(1, 5, integer=True))
def declared_with_whole_bounds(progress, gain, cuts):  # noqa: ARG001 # declared, not used
    """Take any number in one range, whole ones in the other."""
    return 1 / (1 + gain * progress)


@pytest.fixture
def spec() -> StudySpec:
    """Return a resolved study of built-in and own kinds."""
    for reference in REFERENCES:
        register(reference, plain if reference == "own.py:f" else shrink)
    space = {
        "kinds": ["StepLR", *REFERENCES],
        "package.module:shrink": {"factor": {"low": 0.2, "high": 0.3}, "mode": "b"},
    }
    content = {"name": "own", "task": "digits", "trials": 8, "space": space}
    return resolve(spec_from(content, "test"), epochs=6, batch_size=32)


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_point_keeps_the_parameters_of_a_reference_with_dots(reference, spec):
    """Its own, and none of a reference that begins with the same letters."""
    searched = {} if reference == "own.py:f" else {"factor": 0.123, "patience": 2, "mode": "b"}
    mine = Hyperparameters(0.3, reference, searched or {"power": 1.5}, optimizer={"momentum": 0.9})
    others = {
        name: value
        for other in spec.space.kinds
        if other != reference
        for name, value in Hyperparameters(0.3, other).to_point().items()
        if "." in name
    }
    assert Hyperparameters.from_point({**others, **mine.to_point()}) == mine


def test_a_study_file_names_a_reference_as_it_names_a_kind(spec):
    """What it says of the parameters counts, and the whole reads back as it was."""
    knobs = spec.space.knobs["package.module:shrink"]
    assert knobs == {
        "factor": Range(0.2, 0.3),
        "patience": Range(0, 3, integer=True),
        "mode": "b",
        "feedback": True,
    }
    assert spec.space.knobs["own.py:f"] == {"power": 2.0, "warmup": False}
    again = resolve(spec_from(spec.as_file_content(), "test"), epochs=6, batch_size=32)
    assert again == spec


def test_a_stored_study_has_the_same_space_without_the_code(monkeypatch):
    """Read back from JSON, whole numbers stay whole ones and others do not become so."""
    register("own.py:g", declared_with_whole_bounds)
    space = {"kinds": ["own.py:g", *REFERENCES], "own.py:g": {"gain": {"low": 1, "high": 4}}}
    for reference in REFERENCES:
        register(reference, shrink)
    content = {"name": "own", "task": "digits", "trials": 8, "space": space}
    spec = resolve(spec_from(content, "test"), epochs=6, batch_size=32)
    stored = spec_from(json.loads(json.dumps(spec.identity())), "test")
    monkeypatch.setattr(kinds, "_registered", {})
    for reference in stored.space.kinds:
        declare_unloaded(reference, stored.space.knobs[reference])
    again = resolve(stored, epochs=6, batch_size=32)
    assert again == spec
    assert distributions(search_space(again)) == distributions(search_space(spec))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"factr": 0.5}, r"unknown key 'space.own.py:g.factr'. Did you mean 'factor'"),
        ({"factor": 0.95}, r"space.own.py:g.factor must lie within 0.1..0.9, but got 0.95"),
        ({"feedback": False}, r"space.own.py:g.feedback must be True, but got False"),
    ],
)
def test_a_study_file_is_held_to_what_was_declared(knobs, message):
    """Unknown parameters and values outside their range are refused with the whole key."""
    register("own.py:g", shrink)
    space = {"kinds": ["own.py:g"], "own.py:g": knobs}
    content = {"name": "own", "task": "digits", "trials": 8, "space": space}
    with pytest.raises(SpecError, match=message):
        resolve(spec_from(content, "test"), epochs=6, batch_size=32)


def test_first_trials_and_coordinates_know_the_parameters(spec):
    """Samplers with a fixed space decode to points that encode to the same place."""
    space = search_space(spec)
    flat = FlatSpace(space)
    for name, point in first_trials(spec).points.items():
        assert flat.decode(flat.encode(point)) == pytest.approx(point), name
    for reference in REFERENCES:
        vector = flat.encode({"kind": reference}, filling=0.25)
        point = flat.decode(vector)
        assert point["kind"] == reference
        assert Hyperparameters.from_point(space.with_fixed(point)).kind == reference
        assert "own.py:f.power" not in point


def test_optunas_storage_keeps_the_names(spec, tmp_path):
    """Stored and read again, a trial means the same hyperparameters."""
    space = search_space(spec)
    database = open_database(f"sqlite:///{tmp_path / 'own.db'}")
    study = optuna.create_study(
        storage=database.optuna_storage, study_name="own", sampler=optuna.samplers.RandomSampler(seed=3)
    )
    suggested = {}
    for _trial in range(20):
        trial = study.ask()
        suggested[trial.number] = suggest(trial, space)
        study.tell(trial, 1.0)
    read = optuna.load_study(study_name="own", storage=database.optuna_storage)
    for trial in read.trials:
        whole = space.with_fixed(trial.params)
        assert whole == suggested[trial.number]
        point = Hyperparameters.from_point(whole)
        names = {f"{point.kind}.{knob}" for knob in point.knobs}
        assert names == {name for name in whole if name.rpartition(".")[0] == point.kind}
    assert {point["kind"] for point in suggested.values()} >= set(REFERENCES)
