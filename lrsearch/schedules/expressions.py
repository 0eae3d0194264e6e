"""The factors that PyTorch has no class for, as Python expressions in the step ``t`` for ``LambdaLR``.

Each is the kind's formula with the numbers of a run filled in; ``u`` is the step after the warm-up. They also
hold for the step after the last update, where ``scheduler.step()`` asks for a factor that nothing uses.
"""

from keyword import iskeyword
from pathlib import PurePath

from lrsearch.schedules import formulas
from lrsearch.schedules.formulas import Knobs, Span

_TAKEN = {  # names in the lines that stand around a factor
    *(
        "t",
        "torch",
        "math",
        "np",
        "float",
        "max",
        "min",
        "tuple",
        "model",
        "optimizer",
        "scheduler",
        "warmup",
    ),
    *("decay", "valid_losses", "group", "groups", "scale", "scales", "layer", "layers", "owner", "name"),
    *("params", "parameter", "fnmatchcase"),
    # and in those of an exported module
    *("sys", "warnings", "build_optimizer", "train", "batches", "loss_of", "validate", "report", "epoch"),
    *("range", "len", "ValueError", "next", "iter", "update", "batch", "loss", "part", "several", "stream"),
    *("device", "valid_loss", "lr", "closure", "check", "print", "super", "id", "enumerate", "any", "dict"),
    *("LoggingBatches", "NamedParameters", "groups_of", "LOGGED", "VALID_LOSSES", "PARAMETERS"),
    *("EPOCHS", "STEPS_PER_EPOCH", "ACCUMULATE"),
}


def wsd(span: Span, knobs: Knobs) -> str:
    """Return 1, then 1 - sqrt of the decay's progress."""
    decay_steps = knobs["decay_fraction"] * span.total
    return f"1 - min(max({{u}} - {span.total - decay_steps!r}, 0) / {decay_steps!r}, 1) ** 0.5"


def inverse_time(span: Span, knobs: Knobs) -> str:
    """Return 1 / (1 + gamma u)^power."""
    return f"(1 + {formulas.inverse_time_gamma(span, knobs)!r} * {{u}}) ** -{knobs['power']!r}"


def inverse_sqrt(span: Span, _knobs: Knobs) -> str:
    """Return sqrt(w / max(t, w))."""
    w = span.warmup_steps or span.total / 20
    return f"({w!r} / max(t, {w!r})) ** 0.5"


def warmup_exponential(span: Span, knobs: Knobs) -> str:
    """Return exp(-gamma u)."""
    return f"math.exp(-{formulas.warmup_exponential_gamma(span, knobs)!r} * {{u}})"


def sine(span: Span, knobs: Knobs) -> str:
    """Return base + (1 - base) abs(sin(pi t / 2l)), damped as its mode says."""
    base, steps = knobs["base_factor"], formulas.cycle_steps(span, knobs)
    bump = f"{1 - base!r} * abs(math.sin(math.pi * t / {steps!r}))"
    if knobs["mode"] == "sin2":
        bump += f" * 0.5 ** (t // {steps!r})"
    if knobs["mode"] == "sin_exp":
        bump += f" * {formulas.gamma_for(knobs['final_factor'], span.total)!r} ** t"
    return f"{base!r} + {bump}"


def with_warmup(expression: str, warmup_steps: int) -> str:
    """Return an expression in ``t`` alone, multiplied by a linear warm-up."""
    if not warmup_steps:
        return expression.format(u="t")
    decay = expression.format(u=f"max(t - {warmup_steps - 1}, 0)")
    return f"min((t + 1) / {warmup_steps}, 1) * ({decay})"


def import_of(reference: str) -> tuple[str, str]:
    """Return the line that imports what a reference names, and what it is called after that line.

    Args:
        reference: ``package.module:name``, or ``path/to/file.py:name`` for a file that lies on the path.
    """
    place, _, name = reference.rpartition(":")
    module = PurePath(place).stem if place.endswith(".py") else place
    outer, dot, inner = name.partition(".")
    called = "own_schedule" if outer in _TAKEN else outer
    if all(part.isidentifier() and not iskeyword(part) for part in module.split(".")):
        renamed = "" if called == outer else f" as {called}"
        return f"from {module} import {outer}{renamed}", called + dot + inner
    return f'{called} = __import__("importlib").import_module({module!r}).{outer}', called + dot + inner
