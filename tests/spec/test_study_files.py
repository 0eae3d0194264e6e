"""Study files: those that come with lrsearch, and that what is written reads back the same."""

import json
import tomllib

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.schedules import KINDS, Hyperparameters
from lrsearch.service.studies import resolved
from lrsearch.spec import read_spec, resolve, search_space, spec_from
from lrsearch.spec.shipped import DEFAULT_STUDY, shipped_studies
from tests.spec.contents import contents

TASK_EPOCHS, TASK_BATCH_SIZE = 20, 32


def from_toml(content):
    """Return the specification that a content means after a detour through a TOML file."""
    return spec_from(tomllib.loads(tomlkit.dumps(content)), "test")


def defaults_written_out(spec):
    """Resolve a specification for the task digits-mlp."""
    return resolve(spec, TASK_EPOCHS, TASK_BATCH_SIZE)


def test_the_promised_studies_come_with_lrsearch():
    """Seven ready-to-run studies, one of which is the default."""
    expected = {"digits-tpe", "mnist-tpe", "mnist-random", "mnist-genetic", "mnist-swarm", "mnist-coarse"}
    assert set(shipped_studies()) == expected | {"mnist-recipe"}
    assert DEFAULT_STUDY in shipped_studies()


@pytest.mark.parametrize("name", shipped_studies())
def test_a_ready_to_run_study_reads_resolves_and_explains_itself(name):
    """Its name is its file's, every rule holds, and its first line says what it is for."""
    path = shipped_studies()[name]
    spec = resolved(read_spec(path))
    assert spec.name == name
    assert spec.epochs is not None
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_studies_have_the_promised_budgets():
    """mnist-tpe: 64 trials of 10 epochs with asha; the recipe: one trial of 25 epochs without search."""
    tpe, recipe = (resolved(read_spec(shipped_studies()[name])) for name in ("mnist-tpe", "mnist-recipe"))
    assert (tpe.trials, tpe.epochs, tpe.pruner, tpe.task) == (64, 10, "percentile", "mnist-mlp")
    assert (recipe.trials, recipe.epochs) == (1, 25)
    assert search_space(recipe).searched == ()


@settings(max_examples=150)
@given(contents())
def test_a_specification_survives_its_own_file(content):
    """Written as TOML and read again, it is the same, before and after defaults are written out."""
    spec = spec_from(content, "test")
    assert from_toml(spec.as_file_content()) == spec
    full = defaults_written_out(spec)
    assert from_toml(full.as_file_content()) == spec_from(full.as_file_content(), "test")
    assert defaults_written_out(from_toml(full.as_file_content())) == full


@settings(max_examples=100)
@given(contents())
def test_a_stored_identity_means_the_same_study(content):
    """The identity is plain JSON, says nothing of [run], and resolves to the same study."""
    full = defaults_written_out(spec_from(content, "test"))
    identity = json.loads(json.dumps(full.identity(), allow_nan=False))
    assert "run" not in identity
    again = defaults_written_out(spec_from(identity, "test"))
    assert again.identity() == full.identity()
    assert search_space(again) == search_space(full)


@settings(max_examples=150)
@given(contents(), st.data())
def test_every_point_of_a_space_is_whole_and_trainable(content, data):
    """A point has the knobs of its own kind alone, its searched part means it, and a schedule takes it."""
    space = search_space(defaults_written_out(spec_from(content, "test")))
    point = space.walk(
        lambda parameter: parameter.domain.at(data.draw(st.floats(0, 1), label=parameter.name))
    )
    kind = KINDS[point["kind"]]
    assert {name.split(".")[0] for name in point if "." in name} <= {kind.name}
    assert kind.takes_warmup or "warmup_fraction" not in point
    assert space.complete(space.searched_part(point)) == point
    hyperparameters = Hyperparameters.from_point(point)
    assert hyperparameters.knobs == kind.complete(hyperparameters.knobs)


def test_the_file_names_a_study_that_has_no_name(tmp_path):
    """The key ``name`` decides, else the file's stem."""
    path = tmp_path / "my study.toml"
    path.write_text('task = "digits-mlp"\ntrials = 3\n')
    assert read_spec(path).name == "my study"
    path.write_text('name = "other"\ntask = "digits-mlp"\ntrials = 3\n')
    assert read_spec(path).name == "other"
    assert read_spec(path, {"name": "third"}).name == "third"


def test_a_byte_order_mark_is_no_content(tmp_path):
    """Editors on Windows put one before UTF-8; the file reads all the same."""
    path = tmp_path / "s.toml"
    path.write_text('task = "digits-mlp"\ntrials = 3\n', encoding="utf-8-sig")
    assert read_spec(path).trials == 3


def test_options_override_the_file(tmp_path):
    """Keys of tables too, and tables that the file does not have."""
    path = tmp_path / "s.toml"
    path.write_text('task = "digits-mlp"\ntrials = 3\n[run]\ntimeout_s = 5\n')
    spec = read_spec(path, {"trials": 7, "run.lanes": 2, "sampler": "random"})
    assert (spec.trials, spec.sampler, spec.run.lanes, spec.run.timeout_s) == (7, "random", 2, 5)
