"""A trial as a study file of its own."""

import tomllib

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.review.fixing import fixed_study
from lrsearch.schedules import Hyperparameters
from lrsearch.service.studies import resolved
from lrsearch.spec import search_space, spec_from
from tests.spec.contents import contents


@settings(max_examples=150)
@given(contents(), st.data())
def test_the_file_of_a_trial_has_its_point_alone(content, data):
    """Read back from TOML, it searches nothing and trains the same hyperparameters for the same budget."""
    spec = resolved(spec_from(content, "test"))
    space = search_space(spec)
    point = space.walk(
        lambda parameter: parameter.domain.at(data.draw(st.floats(0, 1), label=parameter.name))
    )
    text = tomlkit.dumps(fixed_study(spec, space.searched_part(point)))
    fixed = resolved(spec_from(tomllib.loads(text), "test"))
    only = search_space(fixed).walk(lambda parameter: f"{parameter.name} is searched")
    assert Hyperparameters.from_point(only) == Hyperparameters.from_point(point)
    assert (fixed.trials, fixed.first_trials, fixed.pruner) == (1, False, "none")
    for same in ("task", "epochs", "batch_size", "seed"):
        assert getattr(fixed, same) == getattr(spec, same)
    assert fixed.optimizer.name == spec.optimizer.name
    assert fixed.name != spec.name
