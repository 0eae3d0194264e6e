"""A schedule as a scheduler of PyTorch, for training loops that are the user's own."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrsearch.errors import SpecError
from lrsearch.schedules import Schedule


class ScheduleLR(LRScheduler):
    """Drives an optimizer by a schedule, in the way of ``torch.optim.lr_scheduler``.

    Call ``step()`` after every update of the optimizer, and ``report(valid_loss)`` after every epoch, which
    matters to schedules with feedback alone. Each parameter group keeps its proportion: its learning rate is
    the schedule's times (its initial one / the schedule's peak). Beyond the end of the run the last value
    stays, as with most of PyTorch's schedulers.

    Args:
        optimizer: whose groups it drives; their learning rates are the peaks.
        schedule: the learning rate of every update of the run.

    Raises:
        SpecError: from ``step()``, if a schedule with feedback was not told an epoch's loss.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule) -> None:
        self.schedule = schedule
        self._losses: list[float] = []
        self._tabulated = -1  # the epoch whose learning rates are the table
        self._table: list[float] = []
        super().__init__(optimizer)

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of the next update; call it after every update.

        Raises:
            SpecError: if the schedule needs feedback and the epoch before this update's was not reported.
        """
        if self._missing_reports:
            raise SpecError(
                f"{self.schedule.kind.name} depends on the validation losses: call report(valid_loss) after "
                f"every epoch of {self.schedule.steps_per_epoch} updates, but epoch {len(self._losses) + 1} "
                "was not reported before the next one began. Are your epochs longer (a DataLoader without "
                "drop_last=True)? Then build with steps_per_epoch=len(loader)"
            )
        super().step(epoch)

    def report(self, valid_loss: float) -> None:
        """Tell the validation loss of the epoch that has just ended; without feedback it changes nothing.

        Raises:
            SpecError: if the schedule needs feedback and no epoch has ended since the last report.
        """
        if not self.schedule.kind.needs_feedback:
            return
        ended = self.last_epoch // self.schedule.steps_per_epoch
        if len(self._losses) >= ended:
            raise SpecError(
                f"report(valid_loss) belongs after an epoch of {self.schedule.steps_per_epoch} updates, each "
                f"followed by step(), but {ended} epochs have ended and as many were reported"
            )
        self._losses.append(float(valid_loss))
        self._tabulated = -1
        self._set(self.get_lr())

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of each group for the next update."""
        steps = self.schedule.steps_per_epoch
        step = min(max(self.last_epoch, 0), self.schedule.total_steps - 1)
        epoch = step // steps
        if self.schedule.kind.needs_feedback and len(self._losses) < epoch:
            return list(self._last_lr)  # until the epoch is reported
        if self._tabulated != epoch:
            self._table, self._tabulated = self._epoch_lrs(epoch), epoch
        lr, peak = self._table[step - epoch * steps], self.schedule.hyperparameters.lr
        return [base_lr / peak * lr for base_lr in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs to go on exactly, as plain numbers, texts and lists."""
        return {
            "last_epoch": self.last_epoch,
            "step_count": self._step_count,
            "base_lrs": [float(base_lr) for base_lr in self.base_lrs],
            "last_lr": [float(lr) for lr in self._last_lr],
            "valid_losses": list(self._losses),
            "schedule": _plain(self.schedule),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where the state was taken; the groups' learning rates are set too.

        Raises:
            SpecError: if it is the state of another schedule, or of an optimizer with other groups.
        """
        _check_same("schedule", state_dict["schedule"], _plain(self.schedule))
        _check_same("number of parameter groups", len(state_dict["base_lrs"]), len(self.base_lrs))
        self.last_epoch, self._step_count = state_dict["last_epoch"], state_dict["step_count"]
        self.base_lrs = list(state_dict["base_lrs"])
        self._losses, self._tabulated = list(state_dict["valid_losses"]), -1
        self._set(list(state_dict["last_lr"]))

    @property
    def _missing_reports(self) -> bool:
        """Whether the update just made belongs to an epoch whose learning rates were not known."""
        step = min(max(self.last_epoch, 0), self.schedule.total_steps - 1)
        return self.schedule.kind.needs_feedback and len(self._losses) < step // self.schedule.steps_per_epoch

    def _epoch_lrs(self, epoch: int) -> list[float]:
        state = self.schedule.start()
        for loss in self._losses[:epoch]:
            state = self.schedule.update(state, loss)
        return [float(lr) for lr in self.schedule.epoch_lrs(epoch, state)]

    def _set(self, lrs: list[float | Tensor]) -> None:
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        self._last_lr = [lr.clone() if isinstance(lr, Tensor) else lr for lr in lrs]


def _plain(schedule: Schedule) -> dict[str, Any]:
    point = schedule.hyperparameters
    return {
        "lr": point.lr,
        "kind": point.kind,
        "knobs": dict(point.knobs),
        "warmup_fraction": point.warmup_fraction,
        "epochs": schedule.epochs,
        "steps_per_epoch": schedule.steps_per_epoch,
    }


def _check_same(what: str, saved: object, here: object) -> None:
    if saved != here:
        raise SpecError(f"the state belongs to another {what}: saved {saved}, but here {here}")
