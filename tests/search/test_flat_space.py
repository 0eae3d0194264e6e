"""The flat space against the tree that it flattens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import SpecError
from lrsearch.parameters import Choice, Parameter, SearchSpace
from lrsearch.schedules import KINDS
from lrsearch.search.flat_space import FlatSpace
from tests.search.spaces import ALL_KINDS, DEFAULT_KINDS, ONE_KIND, points, trees

spaces = st.one_of(trees(), st.sampled_from([DEFAULT_KINDS, ALL_KINDS, ONE_KIND]))


def same(one: dict, other: dict) -> bool:
    """Return whether two points are equal but for rounding."""
    if one.keys() != other.keys():
        return False
    return all(
        value == pytest.approx(other[name], rel=1e-9, abs=1e-9)
        if isinstance(value, float)
        else value == other[name]
        for name, value in one.items()
    )


def vectors(dimension: int) -> st.SearchStrategy[np.ndarray]:
    """Draw a vector of a unit cube."""
    coordinates = st.lists(st.floats(0, 1), min_size=dimension, max_size=dimension)
    return coordinates.map(lambda values: np.array(values, dtype=float))


@settings(max_examples=150)
@given(st.data())
def test_decoding_inverts_encoding(data):
    """Every valid point comes back from its vector, whatever fills the coordinates that it leaves open."""
    space = data.draw(spaces)
    flat = FlatSpace(space)
    point = space.searched_part(data.draw(points(space)))
    filling = data.draw(vectors(flat.dimension))
    assert same(flat.decode(flat.encode(point)), point)
    assert same(flat.decode(flat.encode(point, filling)), point)
    assert same(flat.decode(flat.encode(point), np.random.default_rng(0)), point)


@settings(max_examples=150)
@given(st.data())
def test_every_vector_is_a_point(data):
    """Every vector of the cube means a valid point, drawn or decided, and encodes into the cube again."""
    space = data.draw(spaces)
    flat = FlatSpace(space)
    vector = data.draw(vectors(flat.dimension))
    for point in (flat.decode(vector), flat.decode(vector, np.random.default_rng(0))):
        whole = space.complete(point)
        assert space.searched_part(whole) == point
        again = flat.encode(point, vector)
        assert again.shape == (flat.dimension,)
        assert ((again >= 0) & (again <= 1)).all()


@settings(max_examples=100)
@given(st.data())
def test_encoding_leaves_open_what_a_point_does_not_decide(data):
    """Coordinates of parameters that a point does not have keep the filling, the others do not look at it."""
    space = data.draw(spaces)
    flat = FlatSpace(space)
    point = space.searched_part(data.draw(points(space)))
    open_coordinates = np.isnan(flat.encode(point, np.nan))
    filling = data.draw(vectors(flat.dimension))
    assert (flat.encode(point, filling)[open_coordinates] == filling[open_coordinates]).all()
    assert (flat.encode(point, filling) == flat.encode(point, 0.5))[~open_coordinates].all()


def test_knobs_of_different_kinds_share_coordinates():
    """The j-th knob of every kind lies on one coordinate: 13 coordinates for the seven default kinds."""
    flat = FlatSpace(DEFAULT_KINDS)
    assert flat.coordinate("StepLR.step_fraction") == flat.coordinate("OneCycleLR.pct_start")
    assert flat.coordinate("StepLR.gamma") == flat.coordinate("ReduceLROnPlateau.patience")
    own = {"lr": 1, "kind": 7, "warmup": 1, "warmup_fraction": 1, "momentum": 1}
    assert flat.dimension == sum(own.values()) + 3


def test_all_kinds_need_four_shared_coordinates():
    """Sixteen kinds with 25 knobs share four coordinates, a knob below a mode included."""
    flat = FlatSpace(ALL_KINDS)
    assert flat.dimension == 1 + len(KINDS) + 2 + 1 + 4
    shared = {flat.coordinate(name) for name in ("Sine.final_factor", "CyclicLR.final_factor")}
    assert shared == {flat.dimension - 1}


def test_warm_up_keeps_a_coordinate_of_its_own():
    """What several kinds have in common means the same for each, and is not mixed up with a knob."""
    flat = FlatSpace(ALL_KINDS)
    knobs = {flat.coordinate(each.name) for each in ALL_KINDS.searched if "." in each.name}
    assert flat.coordinate("warmup_fraction") not in knobs
    assert flat.coordinate("warmup") not in knobs


def test_the_only_kind_needs_no_scores():
    """A study of one kind has scores for that kind's mode alone."""
    flat = FlatSpace(ONE_KIND)
    assert [part.stop - part.start for part in flat.scores] == [3]
    assert flat.coordinate("CyclicLR.mode") == flat.scores[0].start


def test_the_highest_score_decides():
    """Without random numbers the option with the highest score is taken."""
    flat = FlatSpace(DEFAULT_KINDS)
    vector = np.full(flat.dimension, 0.5)
    vector[flat.scores[0]] = [0.1, 0.9, 0.3, 0.0, 0.2, 0.8, 0.4]
    assert flat.decode(vector)["kind"] == "ExponentialLR"


def test_scores_are_probabilities():
    """With random numbers options appear as often as their scores say; all at zero means all alike."""
    flat = FlatSpace(DEFAULT_KINDS)
    rng = np.random.default_rng(0)
    vector = np.full(flat.dimension, 0.5)
    vector[flat.scores[0]] = [0.3, 0.1, 0, 0, 0, 0, 0]
    drawn = [flat.decode(vector, rng)["kind"] for _ in range(400)]
    assert set(drawn) == {"StepLR", "ExponentialLR"}
    assert drawn.count("StepLR") == pytest.approx(300, abs=40)
    vector[flat.scores[0]] = 0
    assert len({flat.decode(vector, rng)["kind"] for _ in range(400)}) == 7


def test_even_options_take_equal_parts():
    """The first score alone decides, each option has an equal part of it, and no other coordinate changes."""
    flat = FlatSpace(DEFAULT_KINDS)
    part = flat.scores[0]
    vector = np.random.default_rng(0).random(flat.dimension)
    for place in range(7):
        vector[part.start] = (place + 0.5) / 7
        even = flat.even(vector)
        assert list(even[part]) == [float(option == place) for option in range(7)]
        assert (np.delete(even, range(part.start, part.stop)) == np.delete(vector, range(1, 8))).all()


def test_a_foreign_value_is_refused():
    """A value outside its range cannot be encoded, and does not fit; nor does an unknown or a fixed name."""
    flat = FlatSpace(DEFAULT_KINDS)
    with pytest.raises(SpecError, match=r"lr must lie within 0.001..5, log scale, but got 7.0"):
        flat.encode({"lr": 7.0})
    assert flat.fits({"lr": 1.0, "kind": "WSD"})
    for part in ({"lr": 7.0}, {"kind": "Nowhere"}, {"weight_decay": 0.0}, {"unheard": 1}):
        assert not flat.fits(part)


def test_a_choice_that_decides_nothing_has_one_coordinate():
    """A list of values on which no other parameter depends keeps its order on one coordinate."""
    flat = FlatSpace(SearchSpace((Parameter("batch", Choice((16, 32, 64))),)))
    assert flat.dimension == 1
    assert not flat.scores
    assert [flat.decode(np.array([position]))["batch"] for position in (0.1, 0.5, 0.9)] == [16, 32, 64]
