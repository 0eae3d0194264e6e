"""A schedule: the learning rate of every update step of a run."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch.errors import SpecError
from lrsearch.schedules.expressions import with_warmup
from lrsearch.schedules.formulas import Floats, Span
from lrsearch.schedules.hyperparameters import Hyperparameters
from lrsearch.schedules.kinds import Kind
from lrsearch.schedules.plateau import Losses, Plateau, PlateauState, State


@dataclass(frozen=True)
class PyTorchScheduler:
    """How a schedule is written in PyTorch.

    Args:
        name: class in ``torch.optim.lr_scheduler``, or None for a constant learning rate.
        arguments: its arguments after the optimizer, whose lr is the peak.
        clock: ``"epoch"`` or ``"step"``: after what ``scheduler.step()`` is called.
        warmup_steps: steps of linear warm-up that precede it (epoch clock: multiply it); 0 if included.
        factor: for ``LambdaLR``: its factor as a Python expression in ``t``, steps of its clock; else None.
        imports: lines of Python that the factor needs before it.
        losses: whether the factor reads the list ``valid_losses``, one for each epoch trained.
    """

    name: str | None
    arguments: dict[str, Any]
    clock: str
    warmup_steps: int
    factor: str | None = None
    imports: tuple[str, ...] = ()
    losses: bool = False


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run, closed-form in the step; with feedback, a fold over validation losses.

    Args:
        hyperparameters: the point it belongs to.
        epochs: length of the run, at least 1.
        steps_per_epoch: optimizer updates in an epoch, at least 1.

    Raises:
        SpecError: if the run is empty.
    """

    hyperparameters: Hyperparameters
    epochs: int
    steps_per_epoch: int

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps_per_epoch < 1:
            raise SpecError(
                "a schedule needs at least one epoch of one step, but got "
                f"epochs = {self.epochs}, steps_per_epoch = {self.steps_per_epoch}"
            )

    @property
    def total_steps(self) -> int:
        """Update steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def warmup_steps(self) -> int:
        """Update steps of the linear warm-up; one step would be no warm-up and counts as none."""
        steps = round(self.hyperparameters.warmup_fraction * self.total_steps)
        return steps if steps > 1 else 0

    @property
    def kind(self) -> Kind:
        """The kind of the schedule."""
        return self.hyperparameters.schedule_kind

    @property
    def plateau(self) -> Plateau | None:
        """The rule that cuts on a plateau, or None for another schedule."""
        if not self.kind.needs_feedback or self.kind.feedback is not None:
            return None
        return Plateau(**self.pytorch().arguments)

    def start(self) -> State | None:
        """Return the state before the first epoch: None without feedback."""
        if self.kind.feedback is not None:
            return ()
        return self.plateau.start(self.hyperparameters.lr) if self.plateau else None

    def update(self, state: State | None, valid_loss: float) -> State | None:
        """Return the state after an epoch that ended with this validation loss."""
        if isinstance(state, PlateauState):
            return self.plateau.update(state, valid_loss) if self.plateau else None
        return None if state is None else (*state, valid_loss)

    def epoch_lrs(self, epoch: int, state: State | None) -> Floats:
        """Return the learning rates of an epoch's updates.

        Args:
            epoch: epochs trained before, from 0.
            state: what :meth:`update` returned after the epoch before, or :meth:`start`.

        Returns:
            array of shape [steps_per_epoch].

        Raises:
            SpecError: if the state is that of another epoch, or a factor of the user's own breaks a rule.
        """
        first = epoch * self.steps_per_epoch
        steps = np.arange(first, first + self.steps_per_epoch, dtype=np.float64)
        if isinstance(state, PlateauState):
            return state.lr * self._warmup(steps)
        if state is not None:
            return self._lr_after(epoch, state) * self._warmup(steps)
        return self.lrs(steps)

    def _lr_after(self, epoch: int, losses: Losses) -> float:
        if self.kind.feedback is None or len(losses) != epoch:
            raise SpecError(
                f"{self.kind.name} needs the state after {epoch} epochs, but got the losses of {len(losses)}"
            )
        progress = epoch / self.epochs
        return self.hyperparameters.lr * self.kind.feedback(progress, losses, self.hyperparameters.knobs)

    def lrs(self, steps: Floats) -> Floats:
        """Return the learning rates at update steps from 0, for a schedule without feedback.

        Raises:
            SpecError: if the schedule needs feedback.
        """
        formula, knobs = self.kind.formula, self.hyperparameters.knobs
        if formula is None:
            raise SpecError(f"{self.kind.name} depends on the losses: ask epoch by epoch, with its state")
        if self.kind.clock == "epoch":
            factors = formula(np.floor(steps / self.steps_per_epoch), self._span(), knobs)
        else:
            after_warmup = np.maximum(steps - max(self.warmup_steps - 1, 0), 0)
            factors = formula(after_warmup, self._span(), knobs)
        return np.asarray(self.hyperparameters.lr * factors * self._warmup(steps))

    def pytorch(self) -> PyTorchScheduler:
        """Return how PyTorch writes this schedule."""
        kind, arguments = self.kind, {}
        if kind.expression is not None:
            decay = kind.expression(self._span(), self.hyperparameters.knobs)
            if kind.needs_feedback:
                return self._lambda_of_losses(decay)
            factor = with_warmup(decay, self.warmup_steps)
            return PyTorchScheduler("LambdaLR", {}, "step", 0, factor, kind.imports)
        if kind.pytorch is not None:
            arguments = kind.pytorch(self.hyperparameters.lr, self._span(), self.hyperparameters.knobs)
        name = kind.name if kind.pytorch is not None and kind.name != "constant" else None
        return PyTorchScheduler(name, arguments, kind.clock, self.warmup_steps)

    def _lambda_of_losses(self, decay: str) -> PyTorchScheduler:
        """Return LambdaLR on the epoch clock; with a warm-up, which it would overwrite, on the step clock."""
        clock, factor = "epoch", decay.format(u="t")
        if self.warmup_steps:
            decay = decay.format(u=f"t // {self.steps_per_epoch}")
            clock, factor = "step", f"min((t + 1) / {self.warmup_steps}, 1) * {decay}"
        return PyTorchScheduler("LambdaLR", {}, clock, 0, factor, self.kind.imports, losses=True)

    def trajectory(self) -> str:
        """Return a key that two runs share only if their learning rates are the same.

        Without feedback they share it whenever these are. Where a user's own schedule breaks a rule at these
        hyperparameters the key is of them: it is training that says why the trial fails.
        """
        if self.kind.needs_feedback:
            return self._settings()
        try:
            lrs = self.lrs(np.arange(self.total_steps, dtype=np.float64))
        except SpecError:
            return self._settings()
        return hashlib.sha256(lrs.tobytes()).hexdigest()

    def _settings(self) -> str:
        rule = self.plateau or f"{self.kind.name}{sorted(self.hyperparameters.knobs.items())}"
        return f"{rule} from {self.hyperparameters.lr!r}, {self.warmup_steps} warm-up steps"

    def _span(self) -> Span:
        if self.kind.clock == "epoch":
            return Span(self.epochs)
        return Span(self.total_steps - max(self.warmup_steps - 1, 0), self.warmup_steps)

    def _warmup(self, steps: Floats) -> Floats:
        if not self.warmup_steps:
            return np.ones_like(steps)
        return np.minimum((steps + 1) / self.warmup_steps, 1.0)
