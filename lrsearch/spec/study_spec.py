"""The description of a study, as a file in ``studies/`` says it."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from lrsearch.errors import SpecError
from lrsearch.optimizers import OPTIMIZERS, optimizer_named
from lrsearch.schedules import KINDS
from lrsearch.spec.domains import DomainField
from lrsearch.spec.explanation import explain

SamplerName = Literal["tpe", "random", "quasi-random", "grid", "coarse-to-fine", "genetic", "particle-swarm"]
PrunerName = Literal["percentile", "asha", "median", "first-epochs", "none"]
StudyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$")]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Rate = Annotated[float, Field(gt=0)]
PartName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,49}$")]
Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def _gather(values: Any, belongs: Callable[[str], bool], below: str = "knobs") -> Any:
    """Move the keys of a table that belong there below one key."""
    if not isinstance(values, dict) or below in values:
        return values
    moved = {key: value for key, value in values.items() if belongs(key)}
    rest = {key: value for key, value in values.items() if key not in moved}
    return {**rest, below: moved}


class OptimizerSpec(_Section):
    """Which optimizer, and what its knobs may be.

    Args:
        name: its class in ``torch.optim``.
        knobs: what each named parameter may be; the others keep PyTorch's default.
    """

    name: str = Field(
        default="SGD", description="the name of an optimizer of torch.optim, such as SGD or Adam"
    )
    knobs: dict[str, DomainField] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_knobs(cls, values: Any) -> Any:
        name = values.get("name", "SGD") if isinstance(values, dict) else "SGD"
        named = [kind for kind in OPTIMIZERS.values() if kind.name == name] or OPTIMIZERS.values()
        knobs = {knob for kind in named for knob in kind.knobs}
        return _gather(values, knobs.__contains__)

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return optimizer_named(name).name


class SpaceSpec(_Section):
    """Which learning rates and schedules are searched.

    Args:
        lr: peak learning rate; None takes the optimizer's usual range.
        warmup_fraction: part of the run in which lr rises linearly.
        kinds: schedule kinds, at least one.
        knobs: what the knobs of each kind may be, by kind and name.
    """

    lr: DomainField = None
    warmup_fraction: DomainField = None
    kinds: list[str] | None = Field(default=None, description="a list of names of schedule kinds")
    knobs: dict[str, dict[str, DomainField]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_kinds(cls, values: Any) -> Any:
        return _gather(values, lambda key: key in KINDS or ":" in key)


class GroupSpec(_Section):
    """What happens to the parameters whose names match a pattern.

    Args:
        lr_scale: factor on the learning rate; None leaves it.
        frozen: whether they are not trained at all.
    """

    lr_scale: DomainField = None
    frozen: bool = Field(default=False, description="true or false")


class GroupsSpec(_Section):
    """Learning rates per layer.

    Args:
        layer_decay: factor on a layer's learning rate, once for each layer above it; None leaves it.
        patterns: groups of parameters by pattern of their names; the first that matches counts.
    """

    layer_decay: DomainField = None
    patterns: dict[str, GroupSpec] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_patterns(cls, values: Any) -> Any:
        return _gather(values, lambda key: key != "layer_decay", below="patterns")

    @property
    def frozen(self) -> tuple[str, ...]:
        """The patterns of parameters that are not trained."""
        return tuple(pattern for pattern, group in self.patterns.items() if group.frozen)


class RangeTestSpec(_Section):
    """What a range test of the task suggested, for the first trials.

    Args:
        low: start of the interval in which the loss fell.
        high: its end.
        lrs: suggested learning rates, the best supported first.
    """

    low: Rate = Field(description="a number above 0")
    high: Rate = Field(description="a number above 0")
    lrs: list[Rate] = Field(min_length=1, description="a list of numbers above 0, at least one")


class RunSpec(_Section):
    """What may differ between workers and runs of one study.

    Args:
        device: auto, cpu, mps, cuda or cuda:N.
        lanes: trials trained together by each worker, or auto.
        workers: processes that train on this machine together, or auto: on a CPU one for each core.
        timeout_s: seconds after which a run stops at the next epoch's end, or None.
        stop_after_no_gain: finished trials without a better one after which the study ends, or None.
        tf32: whether a GPU may multiply float32 matrices in TF32: faster, and less exact.
        checkpoint_dir: folder of checkpoints, shared by all workers; None for one beside a SQLite file, else
            the user's cache folder, which the workers of one machine share.
        checkpoint_every_s: seconds between two checkpoints of a worker, at least.
        checkpoint_max_gb: gigabytes that the checkpoints of a study take at most; 0 writes none.
        storage_patience_s: seconds for which workers train on while the database does not answer.
        stall_timeout_s: seconds without an update after which a worker gives up its trials and exits.
    """

    device: Device = Field(default="auto", description="auto, cpu, mps, cuda or cuda:N")
    lanes: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        default="auto", description="a whole number from 1 to 4096, or auto"
    )
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        default="auto", description="a whole number from 1 to 1024, or auto"
    )
    timeout_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="a finite number of seconds above 0"
    )
    stop_after_no_gain: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="a whole number of at least 1"
    )
    tf32: bool = Field(default=False, description="true or false")
    checkpoint_dir: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None, description="a path"
    )
    checkpoint_every_s: Annotated[float, Field(ge=0)] = Field(
        default=60.0, description="a finite number of seconds of at least 0"
    )
    checkpoint_max_gb: Annotated[float, Field(ge=0)] = Field(
        default=10.0, description="a finite number of gigabytes of at least 0"
    )
    storage_patience_s: Annotated[float, Field(ge=0)] = Field(
        default=300.0, description="a finite number of seconds of at least 0"
    )
    stall_timeout_s: Annotated[float, Field(gt=0)] = Field(
        default=900.0, description="a finite number of seconds above 0"
    )


class StudySpec(_Section):
    """The immutable description of a study; all but ``run`` is its identity, and ``trials`` may grow.

    Args:
        name: under which the study is stored.
        task: what is learned.
        trials: budget, at least 1; every trial that ends counts.
        epochs: passes over the training split per trial; None takes the task's.
        batch_size: examples per update; None takes the task's.
        seed: of initial weights, batch order and the sampler.
        sampler: who proposes points.
        pruner: who stops trials early; None: asha, unless the sampler is a scan.
        first_trials: whether well-known recipes are tried first; None: unless the sampler is a scan.
        parts: names of optimizers that are searched side by side, each with a space of its own (a GAN's
            generator and discriminator); None is one optimizer without a name.
        groups: learning rates per layer, or None.
        range_test: what a range test suggested, or None.
    """

    name: StudyName = Field(
        description="1 to 100 letters, digits, spaces, '.', '_' or '-', beginning with a letter or digit"
    )
    task: str = Field(
        description="the name of a task (see: lrsearch tasks), package.module:name or path/file.py:name"
    )
    trials: Count = Field(description="a whole number from 1 to 1000000")
    epochs: Count | None = Field(default=None, description="a whole number from 1 to 1000000")
    batch_size: Count | None = Field(default=None, description="a whole number from 1 to 1000000")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="a whole number from 0 to 4294967295"
    )
    sampler: SamplerName = Field(default="tpe", description=f"one of {', '.join(get_args(SamplerName))}")
    pruner: PrunerName | None = Field(default=None, description=f"one of {', '.join(get_args(PrunerName))}")
    first_trials: bool | None = Field(default=None, description="true or false")
    parts: Annotated[list[PartName], Field(min_length=1)] | None = Field(
        default=None, description="a list of names made of letters, digits, '_' and '-'"
    )
    optimizer: OptimizerSpec = Field(default_factory=OptimizerSpec, description="a table")
    space: SpaceSpec = Field(default_factory=SpaceSpec, description="a table")
    groups: GroupsSpec | None = Field(default=None, description="a table")
    range_test: RangeTestSpec | None = Field(default=None, description="a table")
    run: RunSpec = Field(default_factory=RunSpec, description="a table")

    def replace(self, **changes: Any) -> Self:
        """Return the specification with some fields changed, checked again.

        Raises:
            SpecError: if a value breaks a rule.
        """
        content = {**dict(self), **changes}
        try:
            return type(self).model_validate(content)
        except ValidationError as error:
            raise SpecError(explain(error, type(self), content, f"study {self.name!r}")) from None

    @property
    def frozen(self) -> tuple[str, ...]:
        """The patterns of parameters that are not trained."""
        return self.groups.frozen if self.groups else ()

    def identity(self) -> dict[str, Any]:
        """Return all that makes it this study, JSON-able, in the shape of a study file."""
        return self.as_file_content(run=False)

    def as_file_content(self, *, run: bool = True) -> dict[str, Any]:
        """Return the nested tables of a study file that reads back as this specification."""
        content = self.model_dump(exclude_none=True)
        content["optimizer"] |= content["optimizer"].pop("knobs")
        content["space"] |= content["space"].pop("knobs")
        if "groups" in content:
            content["groups"] |= content["groups"].pop("patterns")
        if not run:
            del content["run"]
        return content
