"""Random contents of study files that break no rule."""

from hypothesis import strategies as st

from lrsearch.parameters import Choice, Range
from lrsearch.schedules import KINDS
from lrsearch.spec import OPTIMIZERS

LEAST_EPOCHS = 8


def domains(limits, low=None, high=None):
    """Draw what a file may write for a parameter: a value, a list or a range within limits."""
    if isinstance(limits, Choice):
        return st.sampled_from(limits.options) | st.lists(
            st.sampled_from(limits.options), min_size=1, unique=True
        )
    values = numbers(limits, limits.low if low is None else low, limits.high if high is None else high)
    return values | st.lists(values, min_size=1, max_size=3, unique=True) | ranges(values)


def numbers(limits, low, high):
    """Draw numbers within limits, whole ones where only these are allowed."""
    if limits.integer:
        return st.integers(int(low), int(min(high, 50)))
    return st.floats(float(low), float(min(high, 100.0)))


@st.composite
def ranges(draw, values):
    """Draw a table with two bounds."""
    low, high = sorted((draw(values), draw(values)))
    table = {"low": low, "high": high}
    if low > 0 and draw(st.booleans()):
        table["log"] = True
    if draw(st.booleans()):
        table["points"] = draw(st.integers(1, 5))
    return table


def warmups():
    """Draw each form of warm-up: number, list, range, zero or a range."""
    fractions = st.floats(0.0, 0.5)
    or_zero = ranges(st.floats(0.01, 0.5)).map(lambda table: {**table, "or_zero": True})
    return fractions | st.lists(fractions, min_size=1, max_size=3, unique=True) | ranges(fractions) | or_zero


@st.composite
def optimizers(draw):
    """Draw the table [optimizer]."""
    kind = OPTIMIZERS[draw(st.sampled_from(sorted(OPTIMIZERS)))]
    names = draw(st.sets(st.sampled_from(sorted(set(kind.knobs) - {"nesterov"}))))
    table = {"name": kind.name, **{name: draw(domains(kind.knobs[name].limits)) for name in sorted(names)}}
    if kind.name == "SGD" and draw(st.booleans()):
        momentum = draw(domains(Range(0.1, 0.99)))
        table |= {"momentum": momentum, "dampening": 0.0, "nesterov": draw(st.sampled_from([True, False]))}
    return table


@st.composite
def spaces(draw):
    """Draw the table [space]."""
    table = {}
    if draw(st.booleans()):
        table["lr"] = draw(domains(Range(1e-5, 10.0)))
    if draw(st.booleans()):
        table["warmup_fraction"] = draw(warmups())
    table["kinds"] = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4, unique=True))
    for name in table["kinds"]:
        knobs = {knob.name: knob.limits for knob in KINDS[name].knobs if draw(st.booleans())}
        highest = {"patience": LEAST_EPOCHS - 3}
        if knobs:
            table[name] = {
                knob: draw(domains(limits, high=highest.get(knob))) for knob, limits in knobs.items()
            }
    return table


@st.composite
def contents(draw):
    """Draw the content of a whole study file."""
    content = {
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,20}", fullmatch=True)),
        "task": "digits-mlp",
        "trials": draw(st.integers(1, 1000)),
        "epochs": draw(st.integers(LEAST_EPOCHS, 100)),
        "optimizer": draw(optimizers()),
        "space": draw(spaces()),
    }
    optional = {
        "batch_size": st.integers(1, 256),
        "seed": st.integers(0, 2**32 - 1),
        "sampler": st.sampled_from(["tpe", "random", "quasi-random", "genetic"]),
        "pruner": st.sampled_from(["percentile", "asha", "median", "first-epochs", "none"]),
        "first_trials": st.booleans(),
        "run": st.fixed_dictionaries({"lanes": st.just("auto") | st.integers(1, 64)}),
    }
    return content | draw(st.fixed_dictionaries({}, optional=optional))
