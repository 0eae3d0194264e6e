"""The recipes that a study tries first."""

import pytest

from lrsearch.search.first_trials import first_trials
from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from


def found(**changes):
    """Return the first trials of a study of the digits."""
    return first_trials(
        resolved(spec_from({"name": "s", "task": "digits-mlp", "trials": 4, **changes}, "test"))
    )


def test_a_recipe_that_does_not_fit_is_named_with_the_reason():
    """One kind is searched: the others' recipes need another."""
    dropped = found(space={"kinds": ["WSD"]}).dropped
    assert list(dropped) == ["the tutorial's recipe", "linear decay", "cosine decay"]
    assert dropped["linear decay"] == "it needs kind = 'LinearLR', which this study fixes to 'WSD'"


@pytest.mark.parametrize(
    ("space", "points"), [({}, []), ({"kinds": ["constant", "WSD"]}, ["warm-up, stable, decay"])]
)
def test_decays_are_no_recipes_of_an_optimizer_that_needs_none(space, points):
    """Nothing is said of them, unless the study searches their kind."""
    first = found(optimizer={"name": "SGDScheduleFree"}, space=space)
    assert list(first.points) == points
    assert first.dropped == {}
