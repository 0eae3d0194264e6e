"""The figure of which parameters matter: PED-ANOVA (Watanabe, Bansal and Hutter 2023), as Optuna has it."""

import warnings

from lrsearch.review.report.colors import ACCENT
from lrsearch.review.report.figure import Absent, Axis, Bars, Figure
from lrsearch.review.report.trials import ShownStudy
from lrsearch.search.space import distribution, domain_of
from lrsearch.spec import search_space

LEAST_TRIALS = 4  # with fewer, the best tenth is one trial and the rest hardly more
FEW_TRIALS = 40  # below it the figures move much with every trial
TITLE = "Importance of the shared parameters"


def importance(study: ShownStudy) -> list[Figure | Absent]:
    """Return how much each parameter decides whether a complete trial is among the best."""
    names = shared_parameters(study)
    complete = len(study.ranked)
    if not names:
        return [_absent("The trials share no searched parameter.")]
    if len(names) == 1:
        return [_absent(f"The trials share one searched parameter alone, {names[0]}: it has all importance.")]
    if complete < LEAST_TRIALS:
        return [_absent(f"It takes {LEAST_TRIALS} complete trials, and there are {complete}.")]
    try:
        found = _importances(study, names)
    except Exception as error:  # whatever its numerics raise on an unlucky set of trials
        return [_absent(f"Optuna could not compute it from these {complete} trials ({error}).")]
    ranked = sorted(found.items(), key=lambda item: -item[1])
    shares = tuple(share for _name, share in ranked)
    texts = tuple(f"{name}: {share:.0%}" for name, share in ranked)
    rows = tuple(map(float, range(len(ranked))))
    bars = Bars("", rows, (0.0,) * len(rows), shares, ACCENT, (0.62,) * len(rows), texts=texts)
    note = (
        "By PED-ANOVA on the complete trials. Of the conditional space only the parameters that all trials "
        "have at once are compared; knobs of single schedule kinds are not."
    )
    if complete < FEW_TRIALS:
        note += f" With {complete} complete trials this is a hint, not a measurement."
    y = Axis("", span=(len(rows) - 0.4, -0.6), names=tuple(f"{name} {share:.0%}" for name, share in ranked))
    x = Axis("share of the importance", span=(0.0, max(shares) * 1.05 or 1.0))
    return [Figure("importance", TITLE, x, y, (bars,), note, height=130 + 46 * len(rows))]


def shared_parameters(study: ShownStudy) -> list[str]:
    """Return the canonical names of the searched parameters that every trial has."""
    return [each.name for each in search_space(study.spec).searched if each.condition is None]


def _absent(reason: str) -> Absent:
    return Absent("importance", TITLE, reason)


def _importances(study: ShownStudy, names: list[str]) -> dict[str, float]:
    import optuna

    parameters = {each.name: each for each in search_space(study.spec).searched}
    distributions = {name: distribution(domain_of(parameters[name])) for name in names}
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        memory = optuna.create_study()
        memory.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: trial.record.params[name] for name in names},
                    distributions=distributions,
                    value=trial.loss,
                )
                for trial in study.ranked
            ]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are few trials is said by the note
            return dict(optuna.importance.get_param_importances(memory, params=names))
    finally:
        optuna.logging.set_verbosity(level)
