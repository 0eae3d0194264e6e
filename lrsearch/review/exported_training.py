"""The lines of an exported module that build the optimizer and train."""

import ast
from collections.abc import Iterable
from functools import partial
from textwrap import indent

from lrsearch.review.wording import PyTorchLines
from lrsearch.trajectory import Loop, Trajectory

WIDTH = 94  # of a line, before it is indented
_STANDARD = ("import math", "from fnmatch import fnmatchcase")
_WARNING = (
    "",
    "# PyTorch's SequentialLR calls its parts in a way that PyTorch itself warns of.",
    'warnings.filterwarnings("ignore", message="The epoch parameter in `scheduler.step")',
)
_AVERAGE = (
    "optimizer.eval()  # puts the average of the weights into the model",
    "# Batch normalisation has no statistics of it: here set its momentum to None, call",
    "# reset_running_stats(), let some 50 batches go through model, and restore momentum, before validate()",
    "# calls model.eval().",
)
_DOCSTRING = '''"""Train a model, and step its schedule where that belongs.

Args:
    model: on its device.
    optimizer: from build_optimizer.
    batches: of an epoch, shuffled anew in each, with a length, such as a DataLoader.
    loss_of: a function of (model, batch) that returns the batch's mean loss.
    validate: a function of (model) that returns the validation loss as a number.
    report: gets a line for every epoch.
"""'''


def import_lines(pytorch: PyTorchLines) -> list[str]:
    """Return the imports of a module, and what silences a warning of PyTorch's about itself."""
    sequential = any("SequentialLR" in line for line in pytorch.scheduler.building)
    standard = {"import math", "import sys", *(line for line in pytorch.imports if line in _STANDARD)}
    standard |= {"import warnings"} if sequential else set()
    own = [line for line in pytorch.imports if line not in _STANDARD]
    ordered = sorted(standard, key=lambda line: (line.startswith("from"), line))
    return [*ordered, "", "import torch", *own, *(_WARNING if sequential else ())]


def constant_lines(run: Trajectory, batch_size: int | None) -> list[str]:
    """Return the constants of the run that a module is for.

    Args:
        run: its length, and what the loop does.
        batch_size: examples per batch of the study; None where it is not known.
    """
    batches = "" if batch_size is None else f"with batches of {batch_size}; "
    lines = [
        f"EPOCHS = {run.epochs}",
        f"STEPS_PER_EPOCH = {run.steps_per_epoch}  # {batches}a DataLoader needs drop_last=True",
    ]
    if run.loop.accumulate > 1:
        lines.append(f"ACCUMULATE = {run.loop.accumulate}  # batches whose mean gradient makes one update")
    return lines


def optimizer_lines(pytorch: PyTorchLines) -> list[str]:
    """Return the function that builds the optimizer."""
    *before, last = pytorch.optimizer
    return [
        "def build_optimizer(model):",
        '    """Return the optimizer of a model\'s parameters."""',
        *_indented([*before, *_broken(last.replace("optimizer = ", "return ", 1))]),
    ]


def train_lines(pytorch: PyTorchLines, loop: Loop, *, closure: bool, averaging: bool) -> list[str]:
    """Return the function that trains.

    Args:
        pytorch: the schedulers, and when they are stepped.
        loop: what else happens in an update.
        closure: whether the optimizer's step computes the gradients, as that of L-BFGS.
        averaging: whether the optimizer keeps an average to be judged by, as schedule-free ones do.
    """
    scheduler = pytorch.scheduler
    epoch = [
        "model.train()",
        *(["optimizer.train()"] if averaging else []),
        *_update_loop(pytorch, loop, closure=closure),
        *(_AVERAGE if averaging else ()),
        "valid_loss = validate(model)",
        *scheduler.after_epoch,
        *(scheduler.after_update if scheduler.waiting else ()),
        'lr = optimizer.param_groups[0]["lr"]',
        'report(f"epoch {epoch + 1}: validation loss {valid_loss:.4g}, next lr {lr:.4g}")',
    ]
    body = [
        *_DOCSTRING.splitlines(),
        *_length_lines(loop),
        *(["device = next(model.parameters()).device.type"] if loop.amp else []),
        *(part for line in scheduler.building for part in _broken(line)),
        "for epoch in range(EPOCHS):",
        *_indented(epoch),
    ]
    return ["def train(model, optimizer, batches, loss_of, validate, report=print):", *_indented(body)]


def _length_lines(loop: Loop) -> list[str]:
    got = "len(batches)" if loop.accumulate == 1 else "len(batches) // ACCUMULATE"
    return [
        f"if {got} != STEPS_PER_EPOCH:",
        f'    raise ValueError(f"an epoch must have {{STEPS_PER_EPOCH}} updates, but got {{{got}}}")',
    ]


def _update_loop(pytorch: PyTorchLines, loop: Loop, *, closure: bool) -> list[str]:
    """Return the lines that go through an epoch's updates."""
    scheduler, gradients = pytorch.scheduler, _gradient_lines(loop)
    update = [*gradients, "optimizer.step()"]
    if closure:
        update = [
            "",
            "def closure():",
            *_indented([*gradients, "return loss"]),
            "",
            "optimizer.step(closure)",
        ]
    step = list(scheduler.after_update)
    if scheduler.waiting:  # the last update of an epoch is followed by its validation first
        step = ["if update < STEPS_PER_EPOCH:", *_indented(step)]
    if loop.accumulate == 1:
        numbered, plain = "for update, batch in enumerate(batches, 1):", "for batch in batches:"
        return [numbered if scheduler.waiting else plain, *_indented([*update, *step])]
    several = "several = [next(stream) for _ in range(ACCUMULATE)]"
    return [
        "stream = iter(batches)",
        f"for {'update' if scheduler.waiting else '_update'} in range(1, STEPS_PER_EPOCH + 1):",
        *_indented([several, *update, *step]),
    ]


def _gradient_lines(loop: Loop) -> list[str]:
    """Return the lines that set the gradients and ``loss``."""
    clip = []
    if loop.clip_norm is not None:
        clip = [f"torch.nn.utils.clip_grad_norm_(model.parameters(), {loop.clip_norm!r})"]
    if loop.accumulate == 1:
        forward = _in_precision(loop, "loss = loss_of(model, batch)")
        return ["optimizer.zero_grad()", *forward, "loss.backward()", *clip]
    part = _in_precision(loop, "part = loss_of(model, batch) / ACCUMULATE")
    each = [*part, "part.backward()", "loss = loss + part.detach()"]
    return ["optimizer.zero_grad()", "loss = 0.0", "for batch in several:", *_indented(each), *clip]


def _in_precision(loop: Loop, line: str) -> list[str]:
    return ["with torch.autocast(device, dtype=torch.bfloat16):", f"    {line}"] if loop.amp else [line]


def _broken(line: str) -> list[str]:
    """Return a line, or where it is long and calls something, one for each of the arguments."""
    call = getattr(ast.parse(line).body[0], "value", None)
    if len(line) <= WIDTH or not isinstance(call, ast.Call):
        return [line]
    written = partial(ast.get_source_segment, line)
    function = written(call.func) or ""
    arguments = [written(argument) for argument in call.args]
    arguments += [f"{keyword.arg}={written(keyword.value)}" for keyword in call.keywords]
    start, _, _ = line.partition(function)
    return [f"{start}{function}(", *(f"    {argument}," for argument in arguments), ")"]


def _indented(lines: Iterable[str]) -> list[str]:
    return indent("\n".join(lines), "    ").splitlines()
