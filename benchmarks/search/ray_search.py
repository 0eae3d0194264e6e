"""Ray Tune with ASHA; its imports stand in functions, because Ray is no dependency of lrsearch."""

import math
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.search.problem import Problem, Training, resident_tensors
from benchmarks.search.runs import Run
from lrsearch.parameters import Point
from lrsearch.search.space import domain_of

LOSS = "valid_loss"


def has_ray() -> bool:
    """Return whether Ray Tune is installed."""
    return find_spec("ray") is not None


def ray_tune(problem: Problem) -> Run:
    """Search with Ray Tune's ASHA at random points, one core per trial."""
    begun = time.time()
    import ray  # type: ignore[import-not-found]  # Ray may be missing where types are checked
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler  # type: ignore[import-not-found]  # likewise

    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    ray.init(
        num_cpus=problem.processes,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": environment},
    )
    try:
        tensors = {name: tensor.numpy() for name, tensor in resident_tensors(problem.task).items()}
        training = tune.with_parameters(_train, problem=problem, arrays=tensors)
        watch = _watch(problem, begun)
        # Ray greets on the standard output, where the table goes
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            tune.Tuner(
                tune.with_resources(training, {"cpu": 1}),
                param_space={"point": tune.sample_from(_random_points(problem))},
                tune_config=tune.TuneConfig(
                    metric=LOSS,
                    mode="min",
                    scheduler=ASHAScheduler(max_t=problem.spec.epochs),
                    num_samples=-1 if problem.trials is None else problem.trials,
                    reuse_actors=True,
                    time_budget_s=problem.cap_s,
                ),
                run_config=tune.RunConfig(storage_path=folder, stop=watch, verbose=0),
            ).fit()
    finally:
        ray.shutdown()
    run: Run = watch.run()
    return run


def _random_points(problem: Problem) -> Callable[[Any], Point]:
    """Return what draws a point: each parameter uniformly, on a log scale where the study says so."""
    space = Training(problem, {}).space
    generator = np.random.default_rng(problem.seed)

    def draw(_spec: Any) -> Point:
        return space.walk(lambda parameter: domain_of(parameter).at(float(generator.random())))

    return draw


_trainings: dict[Problem, Training] = {}  # by problem: an actor that is reused keeps its own


def _train(config: dict[str, Any], problem: Problem, arrays: dict[str, Any]) -> None:
    """Train a trial, and report every epoch."""
    import warnings

    from ray import tune

    if problem not in _trainings:
        with warnings.catch_warnings():  # of arrays that cannot be written, which nobody does
            warnings.simplefilter("ignore", UserWarning)
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        _trainings[problem] = Training(problem, tensors)
    for loss in _trainings[problem].losses(config["point"]):
        tune.report({LOSS: loss if math.isfinite(loss) else 1e9})


def _watch(problem: Problem, begun: float) -> Any:
    """Return what ends the search when the loss is reached, and knows when that was."""
    from ray import tune

    class Watch(tune.Stopper):  # type: ignore[misc]  # Ray may be missing where types are checked
        reached_s: float | None = None
        best, epochs = math.inf, 0

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002 # Ray's protocol
            self.epochs += 1
            self.best = min(self.best, result[LOSS])
            seconds = time.time() - begun
            if self.reached_s is None and self.best <= problem.target and seconds <= problem.cap_s:
                self.reached_s = seconds
            return False

        def stop_all(self) -> bool:
            return self.reached_s is not None or time.time() - begun > problem.cap_s

        def run(self) -> Run:
            return Run(
                "ray-tune",
                problem.seed,
                problem.study,
                problem.target,
                problem.cap_s,
                self.reached_s is not None,
                problem.cap_s if self.reached_s is None else self.reached_s,
                self.epochs,
                self.best,
            )

    return Watch()
