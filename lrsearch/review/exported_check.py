"""The lines of an exported module that compare its learning rates with logged ones, and these."""

from collections.abc import Iterable

from lrsearch.trajectory import Loop, ModelParameter, Trajectory

WIDTH = 98  # of a line of numbers

_BATCHES = '''class LoggingBatches:
    """Stand for the batches of an epoch, and log the learning rates before every update."""

    def __init__(self, optimizer):
        self.optimizer, self.lrs = optimizer, []

    def __len__(self):
        return {length}

    def __iter__(self):
        for {number} in range(len(self)):
{log}
            yield None'''
_LOG = 'self.lrs.append([group["lr"] for group in self.optimizer.param_groups])'

_MODEL = '''class NamedParameters(torch.nn.Module):
    """Stand for the model: its parameters' names and dimensions alone."""

    def __init__(self):
        super().__init__()
        self.named = {
            name: torch.nn.Parameter(torch.zeros([1] * dimensions), requires_grad=trainable)
            for name, (dimensions, trainable, _group) in PARAMETERS.items()
        }

    def named_parameters(self, *_arguments, **_options):
        return iter(self.named.items())


def groups_of(model, optimizer):
    """Return each parameter's group in this optimizer, and that which was logged; None for no group."""
    mine = {id(p): place for place, group in enumerate(optimizer.param_groups) for p in group["params"]}
    return {name: (mine.get(id(p)), PARAMETERS[name][2]) for name, p in model.named_parameters()}'''

_START = '''def check():
    """Train a model that stands for yours with this file's own loop, and compare the learning rates."""
    model = {model}
    optimizer = build_optimizer(model)
    batches = LoggingBatches(optimizer)
{losses}    train(
        model,
        optimizer,
        batches,
        loss_of=lambda _model, _batch: torch.zeros((), requires_grad=True),
        validate={validate},
        report=lambda _line: None,
    )
'''

_COUNT = """    if len(batches.lrs) != UPDATES:
        print(f"{len(batches.lrs)} updates were made, but {UPDATES} were logged.")
        return 1
"""

_COMPARE = """    wrong, compared = [], 0
    peak = max(LOGGED.values())
    for update, logged in LOGGED.items():
        [lr] = batches.lrs[update]
        compared += 1
        if not math.isclose(lr, logged, rel_tol=1e-6, abs_tol=1e-9 * peak):
            wrong.append(f"update {update}: lr {lr!r}, but {logged!r} was logged")
"""

_COMPARE_GROUPS = """    wrong, compared = [], 0
    peak = max(max(lrs) for lrs in LOGGED.values())
    for name, (mine, theirs) in groups_of(model, optimizer).items():
        if (mine is None) != (theirs is None):
            wrong.append(f"{name}: group {mine}, but {theirs} was logged")
            continue
        for update, logged in LOGGED.items() if theirs is not None else ():
            lr = batches.lrs[update][mine]
            compared += 1
            if not math.isclose(lr, logged[theirs], rel_tol=1e-6, abs_tol=1e-9 * peak):
                wrong.append(f"update {update}, {name}: lr {lr!r}, but {logged[theirs]!r} was logged")
"""

_END = """    if wrong or not compared:
        print(*wrong[:5], f"{len(wrong)} of {compared} learning rates differ.", sep="\\n")
        return 1
    print(f"OK: at {len(LOGGED)} of {UPDATES} updates the learning rates are the logged ones.")
    return 0"""


def check_lines(loop: Loop, *, grouped: bool, reads_losses: bool) -> list[str]:
    """Return the function that checks, and the classes that it needs.

    Args:
        loop: what else happens in an update.
        grouped: whether parameters differ in their learning rates, or some are frozen.
        reads_losses: whether the schedule reads validation losses.
    """
    start = _START.format(
        model="NamedParameters()" if grouped else "torch.nn.Linear(1, 1, bias=False)",
        losses="    valid_losses = iter(VALID_LOSSES)\n" if reads_losses else "",
        validate="lambda _model: next(valid_losses, 0.0)" if reads_losses else "lambda _model: 0.0",
    )
    check = start + _COUNT + (_COMPARE_GROUPS if grouped else _COMPARE) + _END
    parts = [_batches(loop), *([_MODEL] if grouped else []), check]
    return "\n\n\n".join(parts).splitlines()


def data_lines(run: Trajectory, *, grouped: bool, reads_losses: bool) -> list[str]:
    """Return the logged learning rates, and what else the check needs, as Python.

    Args:
        run: what was logged.
        grouped: whether the groups are told apart.
        reads_losses: whether the schedule reads validation losses.
    """
    if grouped:
        rates = [f"{update}: {tuple(map(_rounded, lrs))}," for update, lrs in run.lrs.items()]
    else:
        rates = [f"{update}: {_rounded(lrs[0])}," for update, lrs in run.lrs.items()]
    lines = [f"UPDATES = {run.epochs * run.steps_per_epoch}", *_block("LOGGED = {", rates, "}")]
    if reads_losses:
        lines += _block("VALID_LOSSES = [", [f"{loss!r}," for loss in run.valid_losses], "]")
    if grouped:
        lines.append("# By name: dimensions, whether it can be trained, its group in LOGGED.")
        lines += ["PARAMETERS = {", *map(_parameter, run.parameters), "}"]
    return lines


def _batches(loop: Loop) -> str:
    if loop.accumulate == 1:
        return _BATCHES.format(length="STEPS_PER_EPOCH", number="_", log=f"            {_LOG}")
    log = f"            if number % ACCUMULATE == 0:\n                {_LOG}"
    return _BATCHES.format(length="STEPS_PER_EPOCH * ACCUMULATE", number="number", log=log)


def _rounded(lr: float) -> float:
    """Return a learning rate with ten digits; it is compared to six."""
    return float(f"{lr:.10g}")


def _parameter(parameter: ModelParameter) -> str:
    return f"    {parameter.name!r}: ({parameter.dimensions}, {parameter.trainable}, {parameter.group}),"


def _block(start: str, items: Iterable[str], end: str) -> list[str]:
    """Return items between brackets, as many in a line as fit."""
    lines: list[list[str]] = [[]]
    for item in items:
        if len(" ".join([*lines[-1], item])) + 4 > WIDTH and lines[-1]:
            lines.append([])
        lines[-1].append(item)
    return [start, *(f"    {' '.join(line)}" for line in lines), end]
