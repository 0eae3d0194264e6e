"""The description of a study, as a file in ``studies/`` says it."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from lrsearch.errors import suggestion
from lrsearch.schedules import KINDS
from lrsearch.spec.domains import DomainField
from lrsearch.spec.optimizers import OPTIMIZERS

SamplerName = Literal["tpe", "random", "quasi-random", "grid", "coarse-to-fine", "genetic", "particle-swarm"]
PrunerName = Literal["asha", "median", "first-epochs", "none"]
StudyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$")]
Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def _gather(values: Any, fields: set[str], into: str, allowed: set[str]) -> Any:
    """Move the keys of a table that are no fields, but allowed, below one key."""
    if not isinstance(values, dict) or into in values:
        return values
    moved = {key: value for key, value in values.items() if key in allowed and key not in fields}
    rest = {key: value for key, value in values.items() if key not in moved}
    return {**rest, into: moved}


class OptimizerSpec(_Section):
    """Which optimizer, and what its knobs may be.

    Args:
        name: SGD, Adam or AdamW.
        knobs: what each named parameter may be; the others keep PyTorch's default.
    """

    name: str = "SGD"
    knobs: dict[str, DomainField] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_knobs(cls, values: Any) -> Any:
        name = values.get("name", "SGD") if isinstance(values, dict) else "SGD"
        if name not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {name!r}.{suggestion(str(name), OPTIMIZERS)}")
        return _gather(values, {"name"}, "knobs", set(OPTIMIZERS[name].knobs))


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
    kinds: list[str] | None = None
    knobs: dict[str, dict[str, DomainField]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_kinds(cls, values: Any) -> Any:
        return _gather(values, {"lr", "warmup_fraction", "kinds"}, "knobs", set(KINDS))


class RunSpec(_Section):
    """What may differ between workers and runs of one study.

    Args:
        device: auto, cpu, mps, cuda or cuda:N.
        lanes: trials trained together, or auto.
        timeout_s: seconds after which a run stops at the next epoch's end, or None.
        stop_after_no_gain: finished trials without a better one after which the study ends, or None.
    """

    device: Device = "auto"
    lanes: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    timeout_s: Annotated[float, Field(gt=0, strict=False)] | None = None
    stop_after_no_gain: Annotated[int, Field(ge=1)] | None = None


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
        pruner: who stops trials early.
        first_trials: whether well-known recipes are tried first; None: unless the sampler is a scan.
    """

    name: StudyName
    task: str
    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "asha"
    first_trials: bool | None = None
    optimizer: OptimizerSpec = Field(default_factory=OptimizerSpec)
    space: SpaceSpec = Field(default_factory=SpaceSpec)
    run: RunSpec = Field(default_factory=RunSpec)

    def replace(self, **changes: Any) -> Self:
        """Return the specification with some fields changed, checked again."""
        return type(self).model_validate({**self.model_dump(), **changes})

    def identity(self) -> dict[str, Any]:
        """Return all that makes it this study, JSON-able, in the shape of a study file."""
        return self.as_file_content(run=False)

    def as_file_content(self, *, run: bool = True) -> dict[str, Any]:
        """Return the nested tables of a study file that reads back as this specification."""
        content = self.model_dump(exclude_none=True)
        content["optimizer"] |= content["optimizer"].pop("knobs")
        content["space"] |= content["space"].pop("knobs")
        if not run:
            del content["run"]
        return content
