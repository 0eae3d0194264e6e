"""The command: ``python -m benchmarks.training``."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.training import __doc__ as explanation
from benchmarks.training.contestants import TRIAL_STEPS
from benchmarks.training.crew import cores
from benchmarks.training.end_to_end import EndToEnd, Setting, end_to_end
from benchmarks.training.measurement import NetResult, Plan, measure
from benchmarks.training.mnist import has_mnist, load_net
from benchmarks.training.tables import (
    end_to_end_goals,
    end_to_end_table,
    goal_table,
    goals,
    net_table,
)
from benchmarks.training.trainings import Trainings, train_completely
from benchmarks.training.tutorial import conversion

TITLE = "Training speed"
LANES = {"cpu": (1, 4, 16, 64), "cuda": (1, 4, 16, 64, 256, 1024)}
ROUNDS, SECONDS = 5, 1.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.05
COMPLETE_TRAININGS, COMPLETE_EPOCHS = 1000, 25
OPTIMIZE_LANES = 8  # what a worker of two chooses for the 64 trials of mnist-tpe


@dataclass
class Report:
    """All that was measured.

    Args:
        machine: what it ran on, and how, in words.
        nets: by net.
        runs: of ``lrsearch optimize``.
        trainings: complete ones, on a GPU.
    """

    machine: str
    nets: list[NetResult] = field(default_factory=list)
    runs: list[EndToEnd] = field(default_factory=list)
    trainings: Trainings | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all of it, as JSON can hold it, with the figures that the tables show."""
        return {**asdict(self), "goals": [asdict(goal) for goal in self.goals()]}

    def goals(self) -> list[Any]:
        """Return the goals that were measured."""
        return [*goals(self.nets), *end_to_end_goals(self.runs, self.trainings)]

    def markdown(self) -> str:
        """Return all tables."""
        parts = [self.machine + "\n", *(net_table(net) for net in self.nets)]
        if self.runs:
            parts.append(end_to_end_table(self.runs))
        return "\n".join([*parts, goal_table(self.goals())])


def read_report(path: Path) -> Report:
    """Return a report that was stored as JSON."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    trainings = stored["trainings"] and Trainings(**stored["trainings"])
    nets = [NetResult.from_json(net) for net in stored["nets"]]
    return Report(stored["machine"], nets, [EndToEnd(**run) for run in stored["runs"]], trainings)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables and goals, and store the figures."""
    options = _parser().parse_args(arguments)
    report = read_report(options.show) if options.show else _measured(options)
    print(report.markdown())
    _store(options, report)
    if options.markdown:
        options.markdown.write_text(f"# {TITLE}\n\n{explanation}\n{report.markdown()}", encoding="utf-8")


def _measured(options: argparse.Namespace) -> Report:
    plan = _plan(options)
    report = Report(machine(plan))
    print(report.machine, file=sys.stderr)
    for net in plan.nets:
        report.nets.append(measure(plan, net))
        print(net_table(report.nets[-1]), file=sys.stderr)
        _store(options, report)
    report.runs += [end_to_end(_setting(options, plan), seed) for seed in range(_searches(options, plan))]
    if plan.on_gpu and not options.quick:
        folder = plan.data_dir
        report.trainings = train_completely(
            "mnist-mlp", folder, plan.device, COMPLETE_TRAININGS, COMPLETE_EPOCHS
        )
    return report


def _store(options: argparse.Namespace, report: Report) -> None:
    if options.json:
        options.json.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")


def machine(plan: Plan) -> str:
    """Return what the figures come from, in words."""
    processor = "a GPU, " + torch.cuda.get_device_name(plan.device) if plan.on_gpu else "no GPU"
    data = "MNIST" if has_mnist(plan.data_dir) else "random images of MNIST's size (MNIST is not there)"
    words = conversion(load_net("mnist-mlp", plan.data_dir).normalization)[2]
    clock = ", single threads by their processor time" if plan.processor_time else ""
    return (
        f"PyTorch {torch.__version__}, {cores()} cores, {processor}. Data: {data}. Medians of {plan.rounds} "
        f"rounds of {plan.seconds:g} s or more each{clock}. The tutorial's loop reads {words}."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--nets", nargs="+", choices=list(TRIAL_STEPS), default=list(TRIAL_STEPS))
    parser.add_argument("--lanes", nargs="+", type=int, help="of the fused trainer")
    parser.add_argument("--device", choices=list(LANES), default="cpu")
    parser.add_argument("--rounds", type=int, help=f"turns of each contestant, else {ROUNDS}")
    parser.add_argument("--seconds", type=float, help=f"of a turn, else {SECONDS}")
    parser.add_argument(
        "--processor-time", action="store_true", help="single threads, timed by their processor time"
    )
    parser.add_argument("--quick", action="store_true", help="a single very short round")
    parser.add_argument("--searches", type=int, help="runs of lrsearch optimize, else 3, or 0 with --quick")
    parser.add_argument("--study", default="mnist-tpe", help="shipped study that lrsearch optimize runs")
    parser.add_argument("--trials", type=int, default=64, help="of lrsearch optimize")
    parser.add_argument("--epochs", type=int, help="of its trials, else the study's")
    parser.add_argument("--optimize-lanes", type=int, default=OPTIMIZE_LANES, help="of each of its workers")
    parser.add_argument("--data-dir", type=Path, help="else LRSEARCH_DATA_DIR, else the user's cache")
    parser.add_argument("--json", type=Path, help="file that all figures are written to")
    parser.add_argument("--show", type=Path, help="tell the figures of such a file, and measure nothing")
    parser.add_argument("--markdown", type=Path, help="page that is written")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if options.quick else (ROUNDS, SECONDS)
    return Plan(
        nets=tuple(options.nets),
        lanes=tuple(options.lanes or LANES[options.device]),
        device=torch.device(options.device),
        data_dir=options.data_dir or _default_data_dir(),
        rounds=options.rounds or rounds,
        seconds=options.seconds or seconds,
        processor_time=options.processor_time,
    )


def _default_data_dir() -> Path:
    """Return the folder of the data sets; where lrsearch's own rule needs what is missing, a part of it."""
    try:
        from lrsearch.tasks.files import data_dir
    except ImportError:
        return Path(os.environ.get("LRSEARCH_DATA_DIR", "."))
    return data_dir()


def _setting(options: argparse.Namespace, plan: Plan) -> Setting:
    workers = 1 if plan.on_gpu else cores()
    lanes = options.optimize_lanes
    return Setting(
        options.study, options.trials, workers, lanes, plan.data_dir, options.epochs, options.device
    )


def _searches(options: argparse.Namespace, plan: Plan) -> int:
    """Return how often ``lrsearch optimize`` is run: not at all where MNIST is not there for it."""
    asked = options.searches if options.searches is not None else 0 if options.quick else 3
    if asked and options.study.startswith("mnist") and not has_mnist(plan.data_dir):
        print(f"lrsearch optimize is left out: MNIST is not in {plan.data_dir}", file=sys.stderr)
        return 0
    return asked


if __name__ == "__main__":
    main()
