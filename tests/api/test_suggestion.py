"""``lrsearch.suggest_schedule`` inside Optuna studies of the user's own."""

import optuna
import pytest
import torch
from optuna import samplers

import lrsearch
from lrsearch.errors import SpecError
from lrsearch.schedules import DEFAULT_KINDS
from tests.api.tasks import linear

SAMPLERS = {
    "tpe": lambda: samplers.TPESampler(seed=0),
    "random": lambda: samplers.RandomSampler(seed=0),
    "gp": lambda: samplers.GPSampler(seed=0, n_startup_trials=3),
    "nsga-ii": lambda: samplers.NSGAIISampler(seed=0, population_size=4),
    "qmc": lambda: samplers.QMCSampler(seed=0),
}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_any_sampler_proposes_whole_schedules(name):
    """Each trial's stored parameters are those that it trained with, under canonical names."""
    seen = []

    def objective(trial):
        suggested = lrsearch.suggest_schedule(trial, epochs=6, steps_per_epoch=5)
        stored = suggested.hyperparameters.to_point()
        assert all(stored[key] == value for key, value in trial.params.items() if key != "warmup")
        seen.append(suggested.hyperparameters.kind)
        return suggested.hyperparameters.lr

    study = optuna.create_study(sampler=SAMPLERS[name]())
    study.optimize(objective, n_trials=8)
    assert set(seen) <= set(DEFAULT_KINDS)
    assert all(trial.params["lr"] == trial.value for trial in study.trials)


def test_a_fixed_trial_replays_a_stored_one():
    """Optuna's FixedTrial gives the same schedule again."""
    study = optuna.create_study(sampler=samplers.RandomSampler(seed=1))
    trial = study.ask()
    first = lrsearch.suggest_schedule(trial, epochs=6, steps_per_epoch=5, optimizer="Adam")
    fixed = optuna.trial.FixedTrial(trial.params)
    again = lrsearch.suggest_schedule(fixed, epochs=6, steps_per_epoch=5, optimizer="Adam")
    assert again == first


def test_its_arguments_make_the_optimizer_and_its_scheduler():
    """``build`` and the two parts by hand follow the same learning rates."""
    trial = optuna.trial.FixedTrial({"lr": 0.2, "LinearLR.end_factor": 0.1, "warmup": False, "momentum": 0.9})
    suggested = lrsearch.suggest_schedule(
        trial,
        epochs=2,
        steps_per_epoch=3,
        optimizer={"name": "SGD", "momentum": {"low": 0.0, "high": 0.95}},
        space={"kinds": ["LinearLR"]},
    )
    assert suggested.optimizer_arguments["momentum"] == 0.9
    by_hand = torch.optim.SGD(linear().parameters(), **suggested.optimizer_arguments)
    scheduler = suggested.scheduler(by_hand)
    built, its_scheduler = suggested.build(linear())
    for _step in range(6):
        assert by_hand.param_groups[0]["lr"] == pytest.approx(built.param_groups[0]["lr"])
        for optimizer, each in ((by_hand, scheduler), (built, its_scheduler)):
            optimizer.step()
            each.step()


def test_a_schedule_of_ones_own_is_suggested(monkeypatch, tmp_path):
    """Named in the program itself, so allowed by it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import lrsearch\n@lrsearch.schedule(power=lrsearch.Range(1.0, 2.0))\n"
        "def fall(progress, power):\n    return (1 - progress) ** power\n"
    )
    trial = optuna.trial.FixedTrial({"lr": 0.1, "warmup": False, "mine.py:fall.power": 2.0})
    suggested = lrsearch.suggest_schedule(trial, epochs=2, steps_per_epoch=2, kinds=["mine.py:fall"])
    assert suggested.schedule.epoch_lrs(1, None).tolist() == pytest.approx([0.025, 0.00625])


def test_a_wrong_value_is_refused():
    """With the rule, as in a study file."""
    trial = optuna.create_study().ask()
    with pytest.raises(SpecError, match=r"space\.lr must lie above 0"):
        lrsearch.suggest_schedule(trial, epochs=3, steps_per_epoch=2, space={"lr": -1.0})
