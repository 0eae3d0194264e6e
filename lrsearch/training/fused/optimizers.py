"""SGD, Adam and AdamW on stacked parameters, every lane with settings of its own.

The formulas are those of ``torch.optim.SGD``, ``Adam`` and ``AdamW``; the tests compare them step by step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules.formulas import Floats
from lrsearch.training.fused.gradients import Gradient
from lrsearch.training.fused.stack import Stack, of_lanes


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
    """Updates the parameters of all lanes at once."""

    stack: Stack
    """What it remembers of each lane."""

    def begin_epoch(self, lanes: Sequence[LaneSettings]) -> None:
        """Take the settings of an epoch: of the lane in the first row, the second, ..."""
        ...

    def step(self, update: int, rows: slice, parameters: Sequence[Tensor], gradient: Gradient) -> None:
        """Update parameters in place.

        Args:
            update: number of the update in its epoch, from 0.
            rows: the lanes.
            parameters: trained ones, ``[lanes, ...]``.
            gradient: of the same lanes.
        """
        ...


class _Rates:
    """Learning rates of an epoch, by update, parameter and lane."""

    def __init__(self, lanes: Sequence[LaneSettings], like: Tensor) -> None:
        self._rows = _tensor([lane.lrs for lane in lanes], like).T.contiguous().unbind()
        scales = [list(lane.scales) for lane in lanes]
        plain = all(scale == 1 for of_lane in scales for scale in of_lane)
        self._scales = None if plain else _tensor(scales, like).T.contiguous().unbind()

    def at(self, update: int, rows: slice) -> Tensor:
        """Return the rates where the scale is 1."""
        return self._rows[update][rows]

    def scaled(self, rates: Tensor, parameter: int, rows: slice) -> Tensor:
        """Return the rates of a parameter."""
        return rates if self._scales is None else rates * self._scales[parameter][rows]


class StackedSGD:
    """SGD with momentum, dampening, weight decay and Nesterov's momentum (``torch.optim.SGD``).

    Args:
        like: a lane's trained parameters, in order.
        capacity: lanes at most.
    """

    def __init__(self, like: Sequence[Tensor], capacity: int) -> None:
        self._like, self._capacity = like, capacity
        self.stack = Stack({}, capacity)

    def begin_epoch(self, lanes: Sequence[LaneSettings]) -> None:
        """Take the settings of an epoch."""
        self._rates = _Rates(lanes, self._like[0])
        momentum, dampening, decay = (
            [float(lane.arguments[name]) for lane in lanes]
            for name in ("momentum", "dampening", "weight_decay")
        )
        nesterov = [bool(lane.arguments["nesterov"]) for lane in lanes]
        self._with_momentum, self._with_decay = any(momentum), any(decay)
        self._with_nesterov = any(nesterov)
        if self._with_momentum and "0" not in self.stack:
            self.stack.add(_numbered(self._like), self._capacity)
        like = self._like[0]
        self._momentum, self._decay = _tensor(momentum, like), _tensor(decay, like)
        self._nesterov = _tensor(nesterov, like)
        self._share = 1 - _tensor(dampening, like)
        # The first gradient enters the momentum undamped.
        first = torch.tensor([lane.updates == 0 for lane in lanes], device=like.device)
        self._first_share = torch.where(first, torch.ones_like(self._share), self._share)

    def step(self, update: int, rows: slice, parameters: Sequence[Tensor], gradient: Gradient) -> None:
        """Update parameters in place."""
        rates = self._rates.at(update, rows)
        if self._with_nesterov:
            self._step_nesterov(update, rows, rates, parameters, gradient.tensors())
        elif self._with_momentum:
            self._step_momentum(update, rows, rates, parameters, gradient)
        else:
            self._step_plain(rows, rates, parameters, gradient)

    def _step_plain(
        self, rows: slice, rates: Tensor, parameters: Sequence[Tensor], gradient: Gradient
    ) -> None:
        for number, parameter in enumerate(parameters):
            rate = self._rates.scaled(rates, number, rows)
            if self._with_decay:
                parameter.mul_(of_lanes(1 - rate * self._decay[rows], parameter))
            gradient.add_to(number, parameter, -rate)

    def _step_momentum(
        self, update: int, rows: slice, rates: Tensor, parameters: Sequence[Tensor], gradient: Gradient
    ) -> None:
        momenta, share = self._momenta(rows), self._share_at(update)[rows]
        for number, (parameter, momentum) in enumerate(zip(parameters, momenta, strict=True)):
            momentum.mul_(of_lanes(self._momentum[rows], momentum))
            if self._with_decay:
                momentum.addcmul_(parameter, of_lanes(share * self._decay[rows], parameter))
            gradient.add_to(number, momentum, share)
            rate = self._rates.scaled(rates, number, rows)
            parameter.addcmul_(momentum, of_lanes(rate, parameter), value=-1)

    def _step_nesterov(
        self,
        update: int,
        rows: slice,
        rates: Tensor,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
    ) -> None:
        """Update lanes of which some look ahead: w -= lr (g + m v), the others w -= lr v."""
        momenta, share = self._momenta(rows), self._share_at(update)[rows]
        ahead, factor = self._nesterov[rows], self._momentum[rows]
        behind = 1 - ahead + ahead * factor
        for number, (parameter, momentum) in enumerate(zip(parameters, momenta, strict=True)):
            value = gradients[number]
            if self._with_decay:
                value = value.addcmul(parameter, of_lanes(self._decay[rows], parameter))
            momentum.mul_(of_lanes(factor, momentum)).addcmul_(value, of_lanes(share, value))
            step = momentum * of_lanes(behind, momentum)
            step.addcmul_(value, of_lanes(ahead, value))
            rate = self._rates.scaled(rates, number, rows)
            parameter.addcmul_(step, of_lanes(rate, parameter), value=-1)

    def _momenta(self, rows: slice) -> list[Tensor]:
        return list(self.stack.rows(rows).values())

    def _share_at(self, update: int) -> Tensor:
        return self._first_share if update == 0 else self._share


class StackedAdam:
    """Adam and AdamW, with AMSGrad (``torch.optim.Adam``, ``torch.optim.AdamW``).

    Args:
        like: a lane's trained parameters, in order.
        capacity: lanes at most.
        decoupled: whether weight decay acts on the weights alone, as in AdamW.
    """

    def __init__(self, like: Sequence[Tensor], capacity: int, *, decoupled: bool) -> None:
        self._like, self._capacity, self._decoupled = like, capacity, decoupled
        self.stack = Stack({**_numbered(like, "mean"), **_numbered(like, "square")}, capacity)

    def begin_epoch(self, lanes: Sequence[LaneSettings]) -> None:
        """Take the settings of an epoch."""
        like, arguments = self._like[0], [lane.arguments for lane in lanes]
        self._rates = _Rates(lanes, like)
        betas = torch.tensor([each["betas"] for each in arguments], dtype=torch.float64)
        updates = torch.tensor([[lane.updates + i + 1 for lane in lanes] for i in range(len(lanes[0].lrs))])
        first, second = (1 - betas[:, i] ** updates for i in range(2))
        self._first_corrections = first.to(like).unbind()
        self._second_corrections = second.sqrt().to(like).unbind()
        self._complements = (1 - betas).to(like).T.contiguous()
        self._second_beta = betas[:, 1].to(like).contiguous()
        self._eps = _tensor([each["eps"] for each in arguments], like)
        decay = _tensor([each["weight_decay"] for each in arguments], like)
        decoupled = _tensor([self._is_decoupled(each) for each in arguments], like)
        self._decay, self._decoupled_decay = decay * (1 - decoupled), decay * decoupled
        self._with_decay = bool((self._decay != 0).any())
        self._with_decoupled_decay = bool((self._decoupled_decay != 0).any())
        largest = [bool(each["amsgrad"]) for each in arguments]
        self._largest = torch.tensor(largest, device=like.device) if any(largest) else None
        if any(largest) and "largest0" not in self.stack:
            self.stack.add(_numbered(self._like, "largest"), self._capacity)

    def step(self, update: int, rows: slice, parameters: Sequence[Tensor], gradient: Gradient) -> None:
        """Update parameters in place."""
        rates, state = self._rates.at(update, rows), self.stack.rows(rows)
        first, second = self._first_corrections[update][rows], self._second_corrections[update][rows]
        for number, (parameter, value) in enumerate(zip(parameters, gradient.tensors(), strict=True)):
            rate = self._rates.scaled(rates, number, rows)
            if self._with_decoupled_decay:
                parameter.mul_(of_lanes(1 - rate * self._decoupled_decay[rows], parameter))
            if self._with_decay:
                value = value.addcmul(parameter, of_lanes(self._decay[rows], parameter))
            mean, square = state[f"mean{number}"], state[f"square{number}"]
            mean.lerp_(value, of_lanes(self._complements[0][rows], mean))
            square.mul_(of_lanes(self._second_beta[rows], square))
            square.addcmul_(value * of_lanes(self._complements[1][rows], value), value)
            if self._largest is not None:
                square = self._largest_square(state[f"largest{number}"], square, rows)
            size = square.sqrt().div_(of_lanes(second, square)).add_(of_lanes(self._eps[rows], square))
            parameter.addcmul_(mean / size, of_lanes(rate / first, parameter), value=-1)

    def _largest_square(self, largest: Tensor, square: Tensor, rows: slice) -> Tensor:
        if self._largest is None:
            return square
        torch.maximum(largest, square, out=largest)
        return torch.where(of_lanes(self._largest[rows], square), largest, square)

    def _is_decoupled(self, arguments: Mapping[str, Any]) -> bool:
        return self._decoupled or bool(arguments.get("decoupled_weight_decay"))


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


def _numbered(tensors: Sequence[Tensor], prefix: str = "") -> dict[str, Tensor]:
    return {f"{prefix}{number}": tensor for number, tensor in enumerate(tensors)}


def _tensor(values: Sequence[Any], like: Tensor) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64)).to(like)
