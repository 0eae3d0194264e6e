"""Search spaces to test with: random trees, and those of real studies."""

from hypothesis import strategies as st

from lrsearch.parameters import Choice, Condition, Parameter, Point, Range, Scalar, SearchSpace
from lrsearch.schedules import KINDS
from lrsearch.search.space import domain_of
from lrsearch.spec import resolve, search_space, spec_from

EPOCHS = 10


def study_space(**space) -> SearchSpace:
    """Return the space of a study file that searches momentum and what ``[space]`` says."""
    content = {
        "name": "study",
        "task": "mnist-mlp",
        "trials": 64,
        "epochs": EPOCHS,
        "optimizer": {"name": "SGD", "momentum": {"low": 0.0, "high": 0.95}},
        "space": space,
    }
    return search_space(resolve(spec_from(content, "study.toml"), EPOCHS, 32))


DEFAULT_KINDS = study_space()
ALL_KINDS = study_space(kinds=list(KINDS))
ONE_KIND = study_space(kinds=["CyclicLR"])
LR_ONLY = SearchSpace((Parameter("lr", Range(1e-3, 1.0, log=True)), Parameter("kind", "constant")))
REAL_SPACES = {"default": DEFAULT_KINDS, "all": ALL_KINDS, "one": ONE_KIND, "lr": LR_ONLY}


@st.composite
def ranges(draw) -> Range:
    """Draw a range: linear or logarithmic, of all numbers or whole ones."""
    integer, log = draw(st.booleans()), draw(st.booleans())
    number = st.integers(1 if log else -20, 20) if integer else st.floats(1e-6 if log else -1e3, 1e3)
    low, high = sorted((draw(number), draw(number)))
    return Range(low, high, log, integer)


def choices() -> st.SearchStrategy[Choice]:
    """Draw a list of numbers, texts or flags."""
    options = st.one_of(
        st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
        st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=4, unique=True),
        st.just([False, True]),
    )
    return options.map(lambda values: Choice(tuple(values)))


def domains() -> st.SearchStrategy[Range | Choice | Scalar]:
    """Draw what a parameter may be, a fixed value included."""
    return st.one_of(ranges(), choices(), st.just(0.5))


@st.composite
def trees(draw, domain=None) -> SearchSpace:
    """Draw a space like a study's: kinds with knobs, some below a knob, some common to several kinds."""
    domain = domains() if domain is None else domain
    kinds = tuple(range(draw(st.integers(1, 4))))
    parameters = [Parameter("lr", draw(domain)), Parameter("kind", Choice(kinds) if len(kinds) > 1 else 0)]
    some = draw(st.sets(st.sampled_from(kinds), min_size=1))
    parameters += _flagged("warmup", draw(domain), Condition("kind", frozenset(some)))
    for kind in kinds:
        condition = Condition("kind", frozenset({kind}))
        knobs = draw(st.lists(domain, max_size=3))
        parameters += [Parameter(f"{kind}.{i}", knob, condition) for i, knob in enumerate(knobs)]
        if draw(st.booleans()):
            parameters += _flagged(f"{kind}.mode", draw(domain), condition)
    return SearchSpace((*parameters, Parameter("momentum", draw(domain))))


def _flagged(name: str, domain: Range | Choice | Scalar, condition: Condition) -> list[Parameter]:
    flag = Parameter(name, Choice((False, True)), condition)
    return [flag, Parameter(f"{name}_value", domain, Condition(name, frozenset({True})))]


@st.composite
def points(draw, space: SearchSpace) -> Point:
    """Draw a whole point of a space."""
    return space.walk(lambda parameter: domain_of(parameter).at(draw(st.floats(0, 1))))
