"""An epoch that a device runs by itself: batches gathered there, steps counted there, the step a graph."""

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lrsearch.results import in_one_line
from lrsearch.tasks.trees import mapped
from lrsearch.training.data import ResidentData
from lrsearch.training.fused.network import Batches, Shared, Stacked
from lrsearch.training.pulse import beat

_log = logging.getLogger(__name__)


class DeviceBatches:
    """The batches of an epoch of many lanes, on the device of the data.

    Args:
        data: on its device.
        places: seed and epoch of every lane; neighbours with equal ones share their batches.
    """

    def __init__(self, data: ResidentData, places: Sequence[tuple[int, int]]) -> None:
        self._data, self._lanes = data, len(places)
        distinct = list(dict.fromkeys(places))
        orders = torch.stack([data.order(*place) for place in distinct], dim=1)
        self._orders = orders.to(
            data.device, torch.int32
        )  # [updates, distinct places, accumulate, batch size]
        numbers = [distinct.index(place) for place in places]
        self._order_of_lane = torch.tensor(numbers, device=data.device)

    def at(self, update: Tensor) -> list[Batches]:
        """Return what an update learns from.

        Args:
            update: its number in the epoch, ``[1]``; it is not read on the host.
        """
        orders = self._orders.index_select(0, update).squeeze(0)
        return [self._gathered(orders[:, part]) for part in range(orders.shape[1])]

    def _gathered(self, orders: Tensor) -> Batches:
        if len(orders) == 1:
            return [Shared(slice(0, self._lanes), self._data.examples(orders[0]))]
        index = orders.index_select(0, self._order_of_lane)
        batch = self._data.examples(index.flatten())
        return Stacked(mapped(lambda leaf: leaf.unflatten(0, index.shape), batch))


class DeviceSteps:
    """Repeats a step; on a GPU as a captured graph, which needs nothing of the host."""

    def __init__(self) -> None:
        self._captures = torch.cuda.is_available()

    def run(self, step: Callable[[], None], count: int) -> None:
        """Make a step so many times.

        The first is an ordinary one: it readies the libraries, which a capture cannot.

        Args:
            step: does the same on every call, with all that changes lying on the device.
            count: at least 1.
        """
        step()
        graph = self._captured(step) if self._captures and count > 1 else None
        repeat = step if graph is None else graph.replay
        for _ in range(count - 1):
            repeat()
            beat()

    def _captured(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph | None:
        """Return a step as a graph; None, from now on, where it cannot be captured."""
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._captures = False
            _log.info("steps are not captured as a graph: %s", in_one_line(error))
            return None
        return graph
