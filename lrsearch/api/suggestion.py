"""Schedules inside a user's own Optuna objective."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrsearch.api.arguments import as_table, given
from lrsearch.foreign_warnings import foreign_warnings_hidden
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.search.space import suggest
from lrsearch.service.tasks import load_kinds
from lrsearch.spec import hyperparameters, optimizer_named, resolve, search_space, spec_from

if TYPE_CHECKING:
    from optuna.trial import BaseTrial
    from torch import nn
    from torch.optim import Optimizer

    from lrsearch.training.scheduler import ScheduleLR


@dataclass(frozen=True)
class SuggestedSchedule:
    """What a trial of an Optuna study is to train with.

    Args:
        hyperparameters: lr, schedule kind, knobs, warm-up and the optimizer's knobs.
        optimizer_name: class in ``torch.optim``.
        schedule: the learning rate of every update.
    """

    hyperparameters: Hyperparameters
    optimizer_name: str
    schedule: Schedule

    @property
    def optimizer_arguments(self) -> dict[str, Any]:
        """The arguments of the optimizer's class after the parameters, ``lr`` first."""
        point = self.hyperparameters
        return {"lr": point.lr, **optimizer_named(self.optimizer_name).arguments(point.optimizer)}

    def scheduler(self, optimizer: "Optimizer") -> "ScheduleLR":
        """Return the scheduler of an optimizer that was made with :attr:`optimizer_arguments`.

        Call its ``step()`` after every update, and ``report(valid_loss)`` after every epoch.
        """
        from lrsearch.training.scheduler import ScheduleLR

        return ScheduleLR(optimizer, self.schedule)

    def build(self, model: "nn.Module") -> tuple["Optimizer", "ScheduleLR"]:
        """Return the optimizer of a model's parameters, in their groups, and its scheduler."""
        from lrsearch.training.build import build

        return build(model, self.optimizer_name, self.schedule)


@foreign_warnings_hidden()
def suggest_schedule(
    trial: "BaseTrial",
    *,
    epochs: int,
    steps_per_epoch: int,
    optimizer: str | Mapping[str, Any] = "SGD",
    kinds: Sequence[str] | None = None,
    space: Mapping[str, Any] | None = None,
    groups: Mapping[str, Any] | None = None,
) -> SuggestedSchedule:
    """Suggest learning rate, schedule kind and knobs, each under its canonical name, in any Optuna study.

    Args:
        trial: of any study, with any sampler.
        epochs: length of the run, at least 1.
        steps_per_epoch: optimizer updates in an epoch, at least 1.
        optimizer: name of an optimizer of ``torch.optim``, or the table ``[optimizer]`` of a study file.
        kinds: schedule kinds to choose from; None takes seven.
        space: the table ``[space]`` of a study file: ``{"lr": {"low": 1e-3, "high": 1.0, "log": True}}``.
        groups: the table ``[groups]`` of a study file.

    Raises:
        SpecError: if a value breaks a rule.
    """
    content = {
        "name": "suggested",
        "task": "objective",
        "trials": 1,
        "epochs": epochs,
        "optimizer": as_table(optimizer),
        "space": {**(space or {}), **given(kinds=None if kinds is None else list(kinds))},
        **given(groups=groups),
    }
    draft = spec_from(content, "lrsearch.suggest_schedule")
    load_kinds(draft, allowed=draft.space.kinds or ())
    spec = resolve(draft, epochs, batch_size=1)
    tree = search_space(spec)
    point = hyperparameters(spec, tree.searched_part(suggest(trial, tree)))
    return SuggestedSchedule(point, spec.optimizer.name, Schedule(point, epochs, steps_per_epoch))
