"""Schedules of the user's own: a function of progress and declared parameters becomes a kind."""

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any, TypeVar

import numpy as np

from lrsearch.errors import SpecError, StudyConflictError, suggestion
from lrsearch.parameters import Choice, Domain, Range, Scalar
from lrsearch.schedules import expressions
from lrsearch.schedules.formulas import Floats, Knobs, Span
from lrsearch.schedules.kinds import Kind, Knob, Limits, add_kind, how_to_allow, loaded_kind

F = TypeVar("F", bound=Callable[..., Any])

_DECLARATION = "__lrsearch_schedule__"
_LARGEST = 1e12  # of a number that is declared as a plain value, and given another one by a study file
_SWITCHES = {"feedback": True, "warmup": False, "elementwise": True}  # by the value that is not the default


@dataclass(frozen=True)
class Declaration:
    """What the decorator :func:`schedule` says of a function.

    Args:
        knobs: its parameters after ``progress`` (and ``losses``), in their order.
        feedback: whether it gets the validation losses so far, once an epoch.
        warmup: whether a linear warm-up may precede it.
        elementwise: whether it takes one number at a time instead of an array.
    """

    knobs: tuple[Knob, ...]
    feedback: bool = False
    warmup: bool = True
    elementwise: bool = False

    def switches(self) -> tuple[Knob, ...]:
        """Return what is not at its default, as fixed knobs: so a stored study tells it without the code."""
        return tuple(
            Knob(name, value, value, Choice((value,)))
            for name, value in _SWITCHES.items()
            if getattr(self, name) is value
        )


@dataclass(frozen=True)
class OwnSchedule:
    """A user's function, called and its answers checked.

    Args:
        reference: where it is: ``package.module:name`` or ``path/to/file.py:name``.
        function: what was declared.
        declaration: how.
    """

    reference: str
    function: Callable[..., Any]
    declaration: Declaration

    def factors(self, x: Floats, span: Span, knobs: Knobs) -> Floats:
        """Return the factors at positions of a span, checked.

        Raises:
            SpecError: if the function raises, or returns anything but a factor for each position.
        """
        progress = x / span.total
        if not self.declaration.elementwise:
            return self._checked(self._call(knobs, progress.copy()), progress, knobs)
        each = [self._checked(self._call(knobs, p), np.float64(p), knobs) for p in progress.tolist()]
        return np.array(each, dtype=np.float64)

    def factor(self, progress: float, losses: tuple[float, ...], knobs: Knobs) -> float:
        """Return the factor of an epoch, for a schedule with feedback.

        Raises:
            SpecError: if the function raises, or returns anything but one factor.
        """
        return float(self._checked(self._call(knobs, progress, losses), np.float64(progress), knobs))

    def expression(self, span: Span, knobs: Knobs) -> str:
        """Return the factor as Python that calls the function."""
        _line, name = expressions.import_of(self.reference)
        given = "".join(f", {key}={value!r}" for key, value in self._own(knobs).items())
        given = given.replace("{", "{{").replace("}", "}}")
        last = span.total - 1  # beyond it lies progress 1, for which the function is not declared
        progress = f"min({{u}}, {last}) / {span.total}"
        if self.declaration.feedback:
            return f"float({name}({progress}, tuple(valid_losses[:{last}]){given}))"
        if self.declaration.elementwise:
            return f"float({name}({progress}{given}))"
        return f"float({name}(np.array([{progress}]){given})[0])"

    def imports(self) -> tuple[str, ...]:
        """Return the lines that :meth:`expression` needs before it."""
        of_arrays = not (self.declaration.feedback or self.declaration.elementwise)
        return (*(["import numpy as np"] if of_arrays else []), expressions.import_of(self.reference)[0])

    def kind(self, *, loaded: bool) -> Kind:
        """Return the kind whose name is the reference."""
        declared = self.declaration
        return Kind(
            name=self.reference,
            clock="epoch" if declared.feedback else "step",
            formula_text=(inspect.getdoc(self.function) or "a function of its user's").splitlines()[0],
            formula=None if declared.feedback else self.factors,
            knobs=(*declared.knobs, *declared.switches()),
            takes_warmup=declared.warmup,
            expression=self.expression,
            imports=self.imports(),
            feedback=self.factor if declared.feedback else None,
            loaded=loaded,
        )

    def _own(self, knobs: Knobs) -> dict[str, Any]:
        return {knob.name: knobs[knob.name] for knob in self.declaration.knobs}

    def _call(self, knobs: Knobs, *arguments: Any) -> Any:
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused below, with its place
                return self.function(*arguments, **self._own(knobs))
        except SpecError:
            raise
        except Exception as error:  # the user's function may raise anything
            hint = self._hint(arguments, error)
            called = f"{self._named(knobs)} raised {type(error).__name__}: {error}"
            raise SpecError(f"{called}, given {_shown(arguments)}.{hint}") from error

    def _hint(self, arguments: tuple[Any, ...], error: Exception) -> str:
        if self.declaration.feedback:
            return "" if arguments[1] else " Before the first epoch there are no losses: return 1.0"
        if self.declaration.elementwise or not isinstance(error, TypeError | ValueError):
            return ""
        return " A function of one number at a time needs @schedule(elementwise=True, ...)"

    def _checked(self, answer: Any, progress: Any, knobs: Knobs) -> Floats:
        """Return what the function answered as factors of the shape of the progress."""
        factors = _numbers(answer)
        if factors is None or factors.shape != progress.shape:
            raise SpecError(
                f"{self._named(knobs)} must return {self._expected(progress)}, but got {answer!r}"
            )
        wrong = np.atleast_1d(~(np.isfinite(factors) & (factors >= 0)))
        if wrong.any():
            value, place = (np.atleast_1d(array)[wrong][0] for array in (factors, progress))
            raise SpecError(
                f"{self._named(knobs)} returned {value:g} at progress {place:g}; "
                "a factor on the learning rate must be a finite number of at least 0"
            )
        return factors

    def _expected(self, progress: Any) -> str:
        if progress.shape == ():
            return "one number, the factor on the learning rate"
        return (
            f"a factor for each of the {progress.size} numbers in progress, an array of shape "
            f"{progress.shape} (or be declared with elementwise=True, to get one number at a time)"
        )

    def _named(self, knobs: Knobs) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._own(knobs).items())
        return f"{self.reference}({given})"


def schedule(
    *, feedback: bool = False, warmup: bool = True, elementwise: bool = False, **ranges: Domain | Scalar
) -> Callable[[F], F]:
    """Declare a function of progress as a learning-rate schedule that a study may list in its kinds.

    The function is ``f(progress, **parameters)``: progress is an array of fractions of the run after the
    warm-up, in [0, 1), and it returns as many factors on the peak learning rate, each finite, at least 0 and
    dependent on its own progress alone. With feedback it is ``f(progress, losses, **parameters)``: progress
    is the epoch's start as a fraction of the run, ``losses`` the tuple of the validation losses of all epochs
    so far (none before the first), and the answer the one factor of the epoch, which a warm-up multiplies.
    The decorated function is returned as it is.

    Args:
        feedback: whether it depends on the validation losses.
        warmup: whether a linear warm-up may precede it; False for one that rises by itself.
        elementwise: whether it takes one number at a time instead of an array.
        ranges: what each parameter may be: a ``Range`` or ``Choice`` is searched, a plain value is fixed.

    Raises:
        SpecError: if the function's parameters and the declared ones differ, or a range is none.
    """
    _check_switches({"feedback": feedback, "warmup": warmup, "elementwise": elementwise})
    if feedback and elementwise:
        raise SpecError(
            "elementwise is for schedules without feedback; one with feedback gets one number anyway"
        )

    def declare(function: F) -> F:
        names = _parameters(function, ("progress", "losses") if feedback else ("progress",))
        _check_ranges(_name(function), names, ranges)
        knobs = tuple(_knob(name, ranges[name]) for name in names)
        setattr(function, _DECLARATION, Declaration(knobs, feedback, warmup, elementwise))
        return function

    return declare


def register(reference: str, function: object) -> Kind:
    """Return the kind of a function declared with :func:`schedule`, known by its reference from now on.

    The function is tried with its usual values, so that what is wrong shows before the first trial.

    Args:
        reference: where it is: ``package.module:name`` or ``path/to/file.py:name``; the kind's name.
        function: what the reference names.

    Raises:
        SpecError: if it was not declared, or breaks a rule when it is tried.
    """
    declaration = getattr(function, _DECLARATION, None)
    if not isinstance(declaration, Declaration) or not callable(function):
        raise SpecError(
            f"{reference} is not declared as a schedule: write @lrsearch.schedule(...) above the function, "
            "with what each parameter may be, such as power=lrsearch.Range(0.3, 3.0)"
        )
    own = OwnSchedule(reference, function, declaration)
    kind = own.kind(loaded=True)
    if declaration.feedback:
        _try_with_losses(own, kind.complete({}))
    else:
        _try_in_parts(own, kind.complete({}))
    return add_kind(kind)


def declare_unloaded(reference: str, knobs: Mapping[str, Domain | Scalar]) -> Kind:
    """Return the kind of a stored study's own schedule, to be shown without its code.

    It tells names and values and writes the lines of PyTorch; its factors cannot be computed. A kind of
    that reference whose code is loaded stays.

    Args:
        reference: where the code is.
        knobs: what the stored, resolved specification says of the kind: domains by name.

    Raises:
        SpecError: if a name is none that a parameter can have.
    """
    for name in knobs:
        if not name.isidentifier() or iskeyword(name):  # it will stand in lines that users paste and run
            raise SpecError(
                f"space.{reference}: a parameter's name must be a name in Python, but got {name!r}"
            )
    declaration = Declaration(
        tuple(
            Knob(name, domain, _usual(domain), _stored_limits(domain))
            for name, domain in knobs.items()
            if name not in _SWITCHES
        ),
        **{name: value if name in knobs else not value for name, value in _SWITCHES.items()},
    )

    def unloaded(*_arguments: object, **_knobs: object) -> None:
        raise SpecError(f"the factors of {reference} cannot be computed. {how_to_allow(reference)}")

    known = loaded_kind(reference)
    return known or add_kind(OwnSchedule(reference, unloaded, declaration).kind(loaded=False))


def check_same_parameters(reference: str, stored: Collection[str], study: str) -> None:
    """Refuse a schedule whose code declares other parameters or switches than when a study began.

    A kind of which no code is loaded is left alone.

    Args:
        reference: of the kind.
        stored: the names that the study's resolved specification has for it.
        study: name of the study.

    Raises:
        StudyConflictError: naming what the schedule has gained and lost.
    """
    kind = loaded_kind(reference)
    if kind is None:
        return
    declared = [knob.name for knob in kind.knobs]
    gained = [name for name in declared if name not in stored]
    lost = [name for name in stored if name not in declared]
    if gained or lost:
        changes = (("gained", gained), ("lost", lost))
        what = " and ".join(f"has {how} {', '.join(names)}" for how, names in changes if names)
        raise StudyConflictError(
            f"the schedule {reference} {what} since study {study!r} began, whose trials it could not "
            "repeat. Undo that, or start another study from a study file: --name NEW"
        )


@dataclass(frozen=True)
class _Anything:
    """The limits of a parameter whose declaration is not known: the stored study was checked before."""

    def contains(self, _value: Scalar) -> bool:
        """Return True."""
        return True

    def __str__(self) -> str:
        return "anything"


def _check_switches(switches: Mapping[str, object]) -> None:
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise SpecError(
                f"{name} is a switch of @schedule and must be True or False, but got {value!r}; "
                "a parameter of the function needs another name"
            )


def _parameters(function: Callable[..., Any], leading: tuple[str, ...]) -> list[str]:
    """Return the names of the parameters after the leading ones."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if tuple(parameter.name for parameter in parameters[: len(leading)]) != leading:
        with_feedback = ", with feedback=True" if len(leading) > 1 else ""
        raise SpecError(
            f"a schedule{with_feedback} must begin with the parameters {', '.join(leading)}, "
            f"but got {_name(function)}{signature}"
        )
    for parameter in parameters[len(leading) :]:
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise SpecError(
                f"every parameter of a schedule must have a name and a range, but got {parameter} "
                f"in {_name(function)}{signature}"
            )
    return [parameter.name for parameter in parameters[len(leading) :]]


def _check_ranges(function: str, names: list[str], ranges: Mapping[str, object]) -> None:
    for name in ranges:
        if name not in names:
            raise SpecError(f"{function} has no parameter {name!r}.{suggestion(name, names)}")
    for name in names:
        if name not in ranges:
            hint = "; with feedback=True it is the second one" if name == "losses" else ""
            raise SpecError(
                f"{function} has a parameter {name!r} that @schedule does not declare: add {name}=Range(low, "
                f"high) to search it, or {name}=1.0 to fix it{hint}.{suggestion(name, ranges)}"
            )


def _knob(name: str, domain: Domain | Scalar) -> Knob:
    """Return the knob of a parameter: a study file may go to the ends of what is declared."""
    if isinstance(domain, Range | Choice):
        return Knob(name, domain, _usual(domain), domain)
    if isinstance(domain, bool):
        return Knob(name, domain, domain, Choice((False, True)))
    if isinstance(domain, str):
        return Knob(name, domain, domain, Choice((domain,)))
    if isinstance(domain, int | float) and math.isfinite(domain):
        limits = Range(-_LARGEST, _LARGEST, integer=isinstance(domain, int))
        return Knob(name, domain, domain, limits)
    raise SpecError(
        f"{name} must be declared as Range(low, high), Choice((a, b)) or a plain value, but got {domain!r}"
    )


def _stored_limits(domain: Domain | Scalar) -> Limits:
    """Return what a stored study tells of a parameter's limits: whether only whole numbers belong to it."""
    if isinstance(domain, Range) and isinstance(domain.low, int) and isinstance(domain.high, int):
        return Range(-_LARGEST, _LARGEST, integer=True)
    return _Anything()


def _usual(domain: Domain | Scalar) -> Scalar:
    if isinstance(domain, Choice):
        return domain.options[0]
    return domain.at(0.5) if isinstance(domain, Range) else domain


def _try_in_parts(own: OwnSchedule, knobs: Knobs) -> None:
    """Call a function for a short run, whole and in parts: the answers must be the same."""
    x, span = np.arange(12, dtype=np.float64), Span(12)
    whole = own.factors(x, span, knobs)
    parts = np.concatenate([own.factors(part, span, knobs) for part in (x[:5], x[5:6], x[6:])])
    different = ~np.isclose(whole, parts, rtol=1e-9, atol=0)
    if different.any():
        raise SpecError(
            f"{own.reference} returned {whole[different][0]:g} and {parts[different][0]:g} at progress "
            f"{(x / 12)[different][0]:g}: a factor may depend on its own progress and the parameters alone, "
            "not on the rest of the array, earlier calls or chance"
        )


def _try_with_losses(own: OwnSchedule, knobs: Knobs) -> None:
    """Call a function with feedback for the first epochs of a run, with equal losses."""
    for epoch in range(4):
        once, again = (own.factor(epoch / 4, (1.0,) * epoch, knobs) for _time in range(2))
        if once != again:
            raise SpecError(
                f"{own.reference} returned {once:g}, then {again:g} for the same losses: a factor may depend "
                "on progress, losses and parameters alone, not on earlier calls or chance"
            )


def _numbers(answer: Any) -> Floats | None:
    """Return an answer as numbers, or None if it is none."""
    try:
        array = np.asarray(answer)
    except (TypeError, ValueError, RuntimeError):  # ragged lists; tensors that need a gradient
        return None
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None


def _shown(arguments: tuple[Any, ...]) -> str:
    names = ("progress", "losses")
    return ", ".join(
        f"{name} = an array of {value.size} numbers"
        if isinstance(value, np.ndarray)
        else f"{name} = {value!r}"
        for name, value in zip(names, arguments, strict=False)
    )


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))
