"""Optuna's own samplers, seeded for one trial."""

import warnings

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

STARTUP_TRIALS = 10


def random_sampler(seed: int, index: int) -> BaseSampler:
    """Return Optuna's random sampler for the trial at an index."""
    return RandomSampler(seed=trial_seed(seed, index))


def tpe_sampler(seed: int, index: int, *, group: bool = True) -> BaseSampler:
    """Return Optuna's tree-structured Parzen estimator for the trial at an index.

    Args:
        seed: of the study.
        index: of the trial, from 0.
        group: model all parameters that exist together jointly, not only those that always exist: no
            worse on the sampler benchmark's development seeds, where both tie within the noise.
    """
    with warnings.catch_warnings():
        # Our range of versions ends before Optuna 6: that `group` is experimental and that
        # `warn_independent_sampling` will go are not a user's concern.
        warnings.filterwarnings("ignore", message=".*group.*", category=ExperimentalWarning)
        warnings.filterwarnings("ignore", message=".*warn_independent_sampling.*", category=FutureWarning)
        return TPESampler(
            n_startup_trials=STARTUP_TRIALS,
            multivariate=True,
            group=group,
            constant_liar=True,
            warn_independent_sampling=False,
            seed=trial_seed(seed, index),
        )


def trial_seed(seed: int, index: int) -> int:
    """Return a seed of 32 bits that depends on the study's seed and the trial's index alone."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
