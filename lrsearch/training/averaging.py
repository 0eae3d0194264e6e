"""The weights that an optimizer trains with, and those that it is judged by, where these are not the same.

Schedule-free optimizers (arXiv 2405.15682) compute gradients at one point and keep an average beside it: the
average is the model that they recommend. All others train the weights that they are judged by.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from lrsearch.tasks.randomness import fixed_randomness
from lrsearch.tasks.task import Task
from lrsearch.training.data import OTHER_RANDOMNESS, TrainingData, derived_seed
from lrsearch.training.update import training_loss

STATISTICS_BATCHES = 50  # as the authors of schedulefree advise


def is_averaging(optimizer: Optimizer) -> bool:
    """Return whether an optimizer keeps other weights to be judged by than it trains with."""
    return any("train_mode" in group for group in optimizer.param_groups)


def is_training(optimizer: Optimizer) -> bool:
    """Return whether a model has weights to train with that it is not judged by."""
    return any(group.get("train_mode", False) for group in optimizer.param_groups)


def put_training_weights(optimizer: Optimizer) -> None:
    """Put the weights that an optimizer trains with into its model."""
    if is_averaging(optimizer):
        optimizer.train()  # type: ignore[attr-defined]  # which torch's own do not have


def put_judged_weights(optimizer: Optimizer) -> None:
    """Put the weights that an optimizer is judged by into its model."""
    if is_averaging(optimizer):
        optimizer.eval()  # type: ignore[attr-defined]  # which torch's own do not have


def put_average(
    task: Task, model: nn.Module, optimizer: Optimizer, data: TrainingData, seed: int, epoch: int
) -> None:
    """Put the weights that an optimizer is judged by into its model, with their statistics, after an epoch.

    The running statistics of batch normalisation belong to the weights that were trained with: they are
    taken anew, as plain means over batches of the epoch in forward passes alone. Layers that the model keeps
    out of training mode keep theirs.

    Args:
        task: which computes them.
        model: on the data's device.
        optimizer: of the model's parameters.
        data: the task's.
        seed: the study's: with the epoch it decides what is random in it.
        epoch: epochs that the model was trained before this one, from 0.
    """
    put_judged_weights(optimizer)
    if not is_averaging(optimizer):
        return
    model.train()
    norms = [
        each
        for each in model.modules()
        if isinstance(each, _BatchNorm) and each.track_running_stats and each.training
    ]
    if not norms:
        return
    # With gradients, as a training step may take some itself.
    with _new_statistics(norms), fixed_randomness(derived_seed(seed, OTHER_RANDOMNESS, epoch), data.device):
        batches = islice(chain.from_iterable(data.updates(seed, epoch)), STATISTICS_BATCHES)
        for number, batch in enumerate(batches, 1):
            for each in norms:
                # None makes plain means; a layer with a forward of its own may need a number.
                each.momentum = None if type(each).forward is _BatchNorm.forward else 1 / number
            training_loss(task, model, batch)


@contextmanager
def _new_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Reset running statistics, and give back what no batch has reached, and every momentum."""
    momenta, before = [each.momentum for each in norms], [_buffers(each) for each in norms]
    for each in norms:
        each.reset_running_stats()
    reset = [_buffers(each) for each in norms]
    try:
        yield
    finally:
        for each, momentum, old, untouched in zip(norms, momenta, before, reset, strict=True):
            each.momentum = momentum
            if all(torch.equal(value, untouched[name]) for name, value in each.named_buffers()):
                each.load_state_dict(each.state_dict() | old)


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.named_buffers()}
