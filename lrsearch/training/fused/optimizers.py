"""SGD, Adam and AdamW on stacked parameters, every lane with settings of its own.

The formulas are those of ``torch.optim.SGD``, ``Adam`` and ``AdamW``; the tests compare them step by step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules.formulas import Floats
from lrsearch.training.fused.gradients import Gradient
from lrsearch.training.fused.stack import Stack, of_lanes

Number = int | Tensor
"""Number of an update in its epoch, from 0: as a tensor ``[1]`` where the device counts by itself."""

Updates = Callable[[Number, Gradient], None]
"""Makes an update of an epoch, of this number, with the gradient at hand."""


@dataclass(frozen=True)
class LaneSettings:
    """What an optimizer does in one lane during an epoch.

    Args:
        arguments: PyTorch's, after lr.
        scales: factor on lr of each trained parameter.
        updates: made before this epoch.
        lrs: of the epoch's updates.
    """

    arguments: Mapping[str, Any]
    scales: Sequence[float]
    updates: int
    lrs: Floats


class StackedOptimizer(Protocol):
    """Updates the parameters of many lanes at once."""

    stack: Stack
    """What it remembers of each lane."""

    def begin_epoch(
        self, lanes: Sequence[LaneSettings], rows: slice, parameters: Sequence[Tensor]
    ) -> Updates:
        """Return what makes the updates of an epoch.

        Args:
            lanes: their settings.
            rows: where the lanes stand in the stacks.
            parameters: of these lanes, trained ones, ``[lanes, ...]``; they are updated in place.
        """
        ...


class _Table:
    """Values that each update of an epoch takes its own of, ``[updates, ...]``."""

    def __init__(self, values: Tensor) -> None:
        self._values, self._rows = values, values.unbind()

    def at(self, update: Number) -> Tensor:
        """Return those of an update; a tensor's number is not read on the host."""
        if isinstance(update, int):
            return self._rows[update]
        return self._values.index_select(0, update).squeeze(0)


class _Rates:
    """Learning rates of an epoch by update and parameter, shaped as factors on the stacked parameters."""

    def __init__(self, lanes: Sequence[LaneSettings], parameters: Sequence[Tensor]) -> None:
        lrs = _tensor([lane.lrs for lane in lanes], parameters[0]).T.contiguous()
        scales = [tuple(lane.scales) for lane in lanes]
        plain = all(scale == 1 for of_lane in scales for scale in of_lane)
        self._scales = None if plain else _tensor(scales, parameters[0]).T.contiguous().unbind()
        self._flat = _Table(lrs)
        dimensions = {parameter.ndim for parameter in parameters}
        self._shaped = {ndim: _Table(lrs.view(*lrs.shape, *(1,) * (ndim - 1))) for ndim in dimensions}

    def at(self, update: Number, number: int, parameter: Tensor) -> Tensor:
        """Return the rates of a parameter, as a factor on it."""
        rates = self._shaped[parameter.ndim].at(update)
        return rates if self._scales is None else rates * of_lanes(self._scales[number], parameter)

    def negative(self, update: Number, number: int) -> Tensor:
        """Return the rates of a parameter with the sign of a descent, ``[lanes]``."""
        rates = self._flat.at(update).neg()
        return rates if self._scales is None else rates.mul_(self._scales[number])


class StackedSGD:
    """SGD with momentum, dampening, weight decay and Nesterov's momentum (``torch.optim.SGD``).

    Args:
        like: a lane's trained parameters, in order.
        capacity: lanes at most.
    """

    def __init__(self, like: Sequence[Tensor], capacity: int) -> None:
        self._like = like
        self.stack = Stack({}, capacity)

    def begin_epoch(
        self, lanes: Sequence[LaneSettings], rows: slice, parameters: Sequence[Tensor]
    ) -> Updates:
        """Return what makes the updates of an epoch."""
        with_momentum = any(lane.arguments["momentum"] for lane in lanes)
        if with_momentum and not self.stack:
            self.stack.add(_numbered(self._like, "momentum"))
        rates = _Rates(lanes, parameters)
        if not with_momentum:
            return _PlainUpdates(lanes, rates, parameters)
        momenta = list(self.stack.rows(rows).values())
        if any(lane.arguments["nesterov"] for lane in lanes):
            return _NesterovUpdates(lanes, rates, parameters, momenta)
        return _MomentumUpdates(lanes, rates, parameters, momenta)


class _PlainUpdates:
    """w -= lr (g + decay w); the gradient goes into the weights directly."""

    def __init__(self, lanes: Sequence[LaneSettings], rates: _Rates, parameters: Sequence[Tensor]) -> None:
        self._rates, self._parameters = rates, parameters
        self._decays = _factors("weight_decay", lanes, parameters)

    def __call__(self, update: Number, gradient: Gradient) -> None:
        for number, parameter in enumerate(self._parameters):
            if self._decays is not None:
                rates = self._rates.at(update, number, parameter)
                parameter.mul_(1 - rates * self._decays[number])
            gradient.add_to(number, parameter, self._rates.negative(update, number))


class _MomentumUpdates:
    """v = momentum v + (1 - dampening) (g + decay w); w -= lr v. The first gradient enters undamped."""

    def __init__(
        self,
        lanes: Sequence[LaneSettings],
        rates: _Rates,
        parameters: Sequence[Tensor],
        momenta: Sequence[Tensor],
    ) -> None:
        self._rates, self._parameters, self._momenta = rates, parameters, momenta
        self._factors = _always(_factors("momentum", lanes, parameters), parameters)
        self._decays = _factors("weight_decay", lanes, parameters)
        self._shares = _shares(lanes, parameters[0])

    def __call__(self, update: Number, gradient: Gradient) -> None:
        shares = None if self._shares is None else self._shares.at(update)
        for number, (parameter, momentum) in enumerate(zip(self._parameters, self._momenta, strict=True)):
            momentum.mul_(self._factors[number])
            if self._decays is not None:
                decay = self._decays[number]
                momentum.addcmul_(parameter, decay if shares is None else decay * of_lanes(shares, decay))
            gradient.add_to(number, momentum, shares)
            parameter.addcmul_(momentum, self._rates.at(update, number, parameter), value=-1)


class _NesterovUpdates(_MomentumUpdates):
    """As with momentum, but lanes that look ahead take w -= lr (g + momentum v)."""

    def __init__(
        self,
        lanes: Sequence[LaneSettings],
        rates: _Rates,
        parameters: Sequence[Tensor],
        momenta: Sequence[Tensor],
    ) -> None:
        super().__init__(lanes, rates, parameters, momenta)
        self._ahead = _always(_factors("nesterov", lanes, parameters), parameters)

    def __call__(self, update: Number, gradient: Gradient) -> None:
        shares = None if self._shares is None else self._shares.at(update)
        values = gradient.tensors()
        for number, (parameter, momentum) in enumerate(zip(self._parameters, self._momenta, strict=True)):
            value, factor, ahead = values[number], self._factors[number], self._ahead[number]
            if self._decays is not None:
                value = value.addcmul(parameter, self._decays[number])
            entering = value if shares is None else value * of_lanes(shares, value)
            momentum.mul_(factor).add_(entering)
            step = momentum * (1 - ahead + ahead * factor)
            step.addcmul_(value, ahead)
            parameter.addcmul_(step, self._rates.at(update, number, parameter), value=-1)


class StackedAdam:
    """Adam and AdamW, with AMSGrad (``torch.optim.Adam``, ``torch.optim.AdamW``).

    Args:
        like: a lane's trained parameters, in order.
        capacity: lanes at most.
        decoupled: whether weight decay acts on the weights alone, as in AdamW.
    """

    def __init__(self, like: Sequence[Tensor], capacity: int, *, decoupled: bool) -> None:
        self._like, self._decoupled = like, decoupled
        self.stack = Stack({**_numbered(like, "mean"), **_numbered(like, "square")}, capacity)

    def begin_epoch(
        self, lanes: Sequence[LaneSettings], rows: slice, parameters: Sequence[Tensor]
    ) -> Updates:
        """Return what makes the updates of an epoch."""
        if any(lane.arguments["amsgrad"] for lane in lanes) and "largest0" not in self.stack:
            self.stack.add(_numbered(self._like, "largest"))
        decoupled = [self._decoupled or bool(lane.arguments.get("decoupled_weight_decay")) for lane in lanes]
        return _AdamUpdates(lanes, parameters, self.stack.rows(rows), decoupled)


class _AdamUpdates:
    """m and s are means of g and g^2 over past updates, both corrected; w -= lr m / (sqrt(s) + eps)."""

    def __init__(
        self,
        lanes: Sequence[LaneSettings],
        parameters: Sequence[Tensor],
        state: Mapping[str, Tensor],
        decoupled: Sequence[bool],
    ) -> None:
        like = parameters[0]
        self._parameters, self._state = parameters, state
        self._rates = _Rates(lanes, parameters)
        self._corrections = _corrections(lanes, like)
        betas = np.array([lane.arguments["betas"] for lane in lanes])
        self._entering = [_tensor(1 - betas[:, i], like) for i in range(2)]
        self._second_beta, self._eps = _tensor(betas[:, 1], like), _setting("eps", lanes, like)
        decay, apart = _setting("weight_decay", lanes, like), _tensor(decoupled, like)
        self._decay, self._decay_apart = _unless_zero(decay * (1 - apart)), _unless_zero(decay * apart)
        largest = [bool(lane.arguments["amsgrad"]) for lane in lanes]
        self._keeps_largest = torch.tensor(largest, device=like.device) if any(largest) else None

    def __call__(self, update: Number, gradient: Gradient) -> None:
        first, second = (corrections.at(update) for corrections in self._corrections)
        for number, (parameter, value) in enumerate(zip(self._parameters, gradient.tensors(), strict=True)):
            rates = self._rates.at(update, number, parameter)
            if self._decay_apart is not None:
                parameter.mul_(1 - rates * of_lanes(self._decay_apart, parameter))
            if self._decay is not None:
                value = value.addcmul(parameter, of_lanes(self._decay, parameter))
            mean, square = self._means(number, value)
            size = square.sqrt().div_(of_lanes(second, square)).add_(of_lanes(self._eps, square))
            parameter.addcmul_(mean / size, rates / of_lanes(first, parameter), value=-1)

    def _means(self, number: int, value: Tensor) -> tuple[Tensor, Tensor]:
        """Enter a gradient into the means of a parameter, and return them."""
        mean, square = self._state[f"mean{number}"], self._state[f"square{number}"]
        mean.lerp_(value, of_lanes(self._entering[0], mean))
        square.mul_(of_lanes(self._second_beta, square))
        square.addcmul_(value * of_lanes(self._entering[1], value), value)
        if self._keeps_largest is None:
            return mean, square
        largest = self._state[f"largest{number}"]
        torch.maximum(largest, square, out=largest)
        return mean, torch.where(of_lanes(self._keeps_largest, square), largest, square)


FUSED_OPTIMIZERS = ("SGD", "Adam", "AdamW")


def stacked_optimizer(name: str, like: Sequence[Tensor], capacity: int) -> StackedOptimizer:
    """Return an optimizer of stacked parameters.

    Args:
        name: one of ``FUSED_OPTIMIZERS``.
        like: a lane's trained parameters, in order.
        capacity: lanes at most.
    """
    if name == "SGD":
        return StackedSGD(like, capacity)
    return StackedAdam(like, capacity, decoupled=name == "AdamW")


def _corrections(lanes: Sequence[LaneSettings], like: Tensor) -> list[_Table]:
    """Return what the two means of Adam are divided by, by update, ``[lanes]``; of the second the root."""
    betas = np.array([lane.arguments["betas"] for lane in lanes])
    done = np.array([lane.updates for lane in lanes])
    updates = 1 + done + np.arange(len(lanes[0].lrs))[:, None]
    first, second = (_tensor(1 - betas[:, i] ** updates, like) for i in range(2))
    return [_Table(first), _Table(second.sqrt())]


def _shares(lanes: Sequence[LaneSettings], like: Tensor) -> _Table | None:
    """Return the part of the gradient that enters the momentum, ``[lanes]``; None where it is all of it."""
    # Without momentum there is nothing to dampen.
    share = [1 - lane.arguments["dampening"] if lane.arguments["momentum"] else 1.0 for lane in lanes]
    if all(each == 1 for each in share):
        return None
    rows = np.tile(share, (len(lanes[0].lrs), 1))
    rows[0, [lane.updates == 0 for lane in lanes]] = 1.0
    return _Table(_tensor(rows, like))


def _factors(name: str, lanes: Sequence[LaneSettings], parameters: Sequence[Tensor]) -> list[Tensor] | None:
    """Return a setting as factors on every parameter; None where it is zero in all lanes."""
    values = _unless_zero(_setting(name, lanes, parameters[0]))
    return None if values is None else [of_lanes(values, parameter) for parameter in parameters]


def _always(factors: list[Tensor] | None, parameters: Sequence[Tensor]) -> list[Tensor]:
    return factors or [torch.zeros((), dtype=p.dtype, device=p.device) for p in parameters]


def _setting(name: str, lanes: Sequence[LaneSettings], like: Tensor) -> Tensor:
    return _tensor([lane.arguments[name] for lane in lanes], like)


def _unless_zero(values: Tensor) -> Tensor | None:
    return values if bool((values != 0).any()) else None


def _numbered(tensors: Sequence[Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{number}": tensor for number, tensor in enumerate(tensors)}


def _tensor(values: Any, like: Tensor) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64)).to(like)
