"""A winner as a module of PyTorch that runs by itself and tests its own learning rates."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from textwrap import wrap

from lrsearch.review.advice import NO_TASK, how_to_confirm
from lrsearch.review.exported_check import check_lines, data_lines
from lrsearch.review.exported_training import constant_lines, import_lines, optimizer_lines, train_lines
from lrsearch.review.groups import has_scales
from lrsearch.review.verdict import interval_text
from lrsearch.review.winner import Winner
from lrsearch.review.wording import capital, described, in_pytorch, number
from lrsearch.schedules import Schedule
from lrsearch.spec import StudySpec, optimizer_named
from lrsearch.trajectory import Trajectory

WIDTH = 98  # of a comment
DOCSTRING = '''"""An optimizer and its learning-rate schedule, as lrsearch found them; it needs {needs}.

To train, import build_optimizer and train from this file. To compare the learning rates of its optimizer
with those that were logged, run it with --check.
"""'''


@dataclass(frozen=True)
class Export:
    """What an exported module is made of.

    Args:
        spec: resolved specification of the study.
        winner: what is exported.
        trajectory: of the run that the module is for.
        searched: epochs and updates per epoch of the trials, where the module is for another run; else None.
        versions: by package, of those that made the module.
        origin: versions by package with which the study began, and digests of its data and its model.
        date: of the export, in ISO 8601.
    """

    spec: StudySpec
    winner: Winner
    trajectory: Trajectory
    searched: tuple[int, int | None] | None
    versions: Mapping[str, str]
    origin: Mapping[str, str]
    date: str

    @property
    def batch_size(self) -> int | None:
        """Examples per batch; None where they are unknown, as where epochs have other updates."""
        same = self.searched is None or self.searched[1] == self.trajectory.steps_per_epoch
        return self.spec.batch_size if same else None

    @property
    def schedule(self) -> Schedule:
        """The schedule of the run that the module is for."""
        return Schedule(self.winner.hyperparameters, self.trajectory.epochs, self.trajectory.steps_per_epoch)


def exported_module(export: Export) -> str:
    """Return the text of the module."""
    optimizer, run = optimizer_named(export.spec.optimizer.name), export.trajectory
    averaging = optimizer.is_schedule_free
    pytorch = in_pytorch(optimizer.name, export.schedule)
    form = {"grouped": _is_grouped(export), "reads_losses": _reads_losses(export)}
    blocks = [
        DOCSTRING.format(needs=f"PyTorch and {optimizer.package}" if averaging else "PyTorch alone"),
        "\n".join(_comments(_evidence(export))),
        "\n".join(import_lines(pytorch)),
        "\n".join(constant_lines(run, export.batch_size)),
        "\n" + "\n".join(optimizer_lines(pytorch)),
        "\n"
        + "\n".join(train_lines(pytorch, run.loop, closure=optimizer.name == "LBFGS", averaging=averaging)),
        "\n" + "\n".join(check_lines(run.loop, **form)),
        "\n" + "\n".join([*_comments(_provenance(export)), *data_lines(run, **form)]),
        _MAIN,
    ]
    return "\n\n".join(blocks) + "\n"


_MAIN = """if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        sys.exit("To compare the learning rates with the logged ones: --check. To train, import this file.")
    sys.exit(check())"""


def _is_grouped(export: Export) -> bool:
    return has_scales(export.winner.hyperparameters) or bool(export.winner.hyperparameters.frozen)


def _reads_losses(export: Export) -> bool:
    return export.schedule.kind.needs_feedback


# What is said


def headline(spec: StudySpec, found: Winner) -> list[str]:
    """Return what a point is and how good, as comments, of Python as of TOML.

    Args:
        spec: of its study.
        found: the point.
    """
    return list(_comments(_findings(spec, found)))


def _findings(spec: StudySpec, found: Winner) -> Iterator[str]:
    yield (
        f"Study {spec.name!r}: task {spec.task!r}, {spec.trials} trials of up to {spec.epochs} epochs, "
        f"sampler {spec.sampler}, pruner {spec.pruner}, seed {spec.seed}."
    )
    value = "" if found.value is None else f" Validation loss in the search: {number(found.value)}."
    name = capital(found.name)
    yield f"{name}: {spec.optimizer.name}, {described(found.hyperparameters, spec.optimizer.name)}.{value}"
    yield from _confirmation(spec, found)


def _evidence(export: Export) -> Iterator[str]:
    yield from _findings(export.spec, export.winner)
    if export.searched is not None:
        yield from _stretching(export, *export.searched)
    made = ", ".join(f"{name} {version}" for name, version in export.versions.items())
    began = ", ".join(f"{name} {version}" for name, version in export.origin.items() if name != "model")
    yield f"Exported on {export.date} with {made}." + (f" The study began with {began}." if began else "")
    if export.schedule.pytorch().imports:
        yield "The schedule is code of your own: its module must be importable where this file runs."


def _confirmation(spec: StudySpec, found: Winner) -> Iterator[str]:
    if found.standing is None:
        how = how_to_confirm(spec)
        luck = "Not confirmed on fresh seeds: the best loss of a search is in part luck."
        if how is None:
            yield f"{luck} {capital(NO_TASK)}."
        else:
            yield f"{luck} To confirm it:"
            yield how
        return
    if found.sentence:
        yield f"Verdict: {found.sentence}"
    reported = found.standing.valid_loss
    if reported is None:
        yield "Trained on fresh seeds too, where a run diverged or failed: a smaller lr would be safer."
        return
    yield (
        f"Validation loss confirmed on {reported.runs} fresh seeds: {interval_text(reported)}, mean and 95% "
        "interval."
    )


def _stretching(export: Export, epochs: int, steps_per_epoch: int | None) -> Iterator[str]:
    run, updates = export.trajectory, f" of {steps_per_epoch} updates" if steps_per_epoch else ""
    yield (
        f"The schedule is stretched: the study trained {epochs} epochs{updates}, this is for {run.epochs} of "
        f"{run.steps_per_epoch}. That what is best in a short run is best in a long one is not proven."
    )
    if export.winner.hyperparameters.kind == "ReduceLROnPlateau":
        yield "The patience counts epochs and stays as it was in the short run."


def _provenance(export: Export) -> Iterator[str]:
    if export.searched is None:
        yield (
            "What --check compares with: the learning rates that were read from optimizer.param_groups "
            f"before updates, counted from 0, of a training of {export.winner.name} in plain PyTorch, which "
            f"came to the validation loss {number(export.trajectory.valid_losses[-1])}."
        )
        return
    yield (
        "What --check compares with: no training of this length was made. These learning rates were read "
        "from an optimizer that lrsearch's own scheduler drove for the whole run."
    )
    if _reads_losses(export):
        yield "The validation losses are those of the short run, stretched."


def _comments(sentences: Iterable[str]) -> Iterator[str]:
    """Yield sentences as comments; what would end a line or cannot be seen is written out."""
    for sentence in sentences:
        plain = "".join(each if each.isprintable() else repr(each)[1:-1] for each in sentence)
        yield from (f"# {line}" for line in wrap(plain, WIDTH))
