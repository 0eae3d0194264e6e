"""Weights that earlier trials of a search have trained: none that follows may begin with them."""

import weakref
from typing import TYPE_CHECKING

from lrsearch.errors import InputError

if TYPE_CHECKING:
    from torch import nn


class TrainedWeights:
    """Refuses a model that goes on where an earlier trial has ended: its loss would be the work of both.

    Args:
        factory: name of the argument that makes models, for messages.
        example: a call that makes a new one each time, for messages.
    """

    def __init__(self, factory: str, example: str) -> None:
        self._factory, self._example = factory, example
        self._by_id: dict[int, weakref.ref[nn.Parameter]] = {}  # a tensor's == compares its elements

    def add(self, model: "nn.Module") -> None:
        """Note the weights that a trial is going to train.

        Raises:
            InputError: if an earlier trial has trained one of them. Frozen ones may be shared.
        """
        weights = [each for each in model.parameters() if each.requires_grad]
        if any(self._is_trained(each) for each in weights):
            raise InputError(
                f"each trial begins with new weights, but {self._factory} has given a model that an earlier "
                f"trial has trained: make it inside, such as {self._example}"
            )
        self._by_id.update((id(each), weakref.ref(each)) for each in weights)

    def _is_trained(self, weight: "nn.Parameter") -> bool:
        known = self._by_id.get(id(weight))
        return known is not None and known() is weight  # an id comes again after its object has gone
