"""Audits a study's pruning: trains a sample of the trials that were stopped to their end."""

import random
import shlex
from collections.abc import Callable, Iterator

from lrsearch.errors import SpecError
from lrsearch.results import Outcome
from lrsearch.retrainings import Run
from lrsearch.service.retraining import RetrainingProgress, Workshop
from lrsearch.spec import hyperparameters
from lrsearch.storage.retrainings import key_of, record_audit
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records


def audit(
    workshop: Workshop, sample: int, stop_requested: Callable[[], bool] = lambda: False
) -> Iterator[RetrainingProgress]:
    """Train stopped trials to their end, under the study's seed, and store the audit.

    A larger sample holds the smaller one; what an earlier call has trained is kept.

    Args:
        workshop: where.
        sample: how many of them, at least 1; all if there are fewer.
        stop_requested: asked after every epoch; true ends it before anything is stored as an audit.

    Raises:
        SpecError: if the sample is empty, or the pruner has stopped no trial.
    """
    if sample < 1:
        raise SpecError(f"sample of an audit must be at least 1, but got {sample}")
    spec = workshop.spec
    records = trial_records(workshop.database, find_study(workshop.database, spec.name))
    stopped = {
        each.number: each
        for each in records
        if each.state == Outcome.PRUNED.value and not each.diverged and each.epochs < (spec.epochs or 1)
    }
    if not stopped:
        raise SpecError(
            f"the pruner has stopped no trial of study {spec.name!r}, so that there is nothing to audit; "
            f"see it: lrsearch show {shlex.quote(spec.name)}"
        )
    order = sorted(stopped)
    random.Random(spec.seed).shuffle(order)
    runs = {
        number: Run(hyperparameters(spec, stopped[number].params).to_point(), spec.seed, spec.epochs or 1)
        for number in sorted(order[:sample])
    }
    yield from workshop.train(list(runs.values()), f"{len(runs)} stopped trials to their end", stop_requested)
    if not workshop.missing(list(runs.values())):
        keys = {number: key_of(run) for number, run in runs.items()}
        record_audit(workshop.database, workshop.study_uuid, sorted(stopped), keys)
