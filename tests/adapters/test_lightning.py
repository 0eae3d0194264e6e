"""Searches with Lightning, against the real library: what is reported, when a fit ends, with which rates."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lrsearch
from lrsearch.errors import InputError, SpecError
from lrsearch.lightning import TrialCallback, configure_optimizers, optimize
from lrsearch.schedules import Schedule
from lrsearch.storage.database import open_database
from lrsearch.storage.epochs import curves
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records

EPOCHS, BATCHES = 3, 6


class Net(LightningModule):
    """Learns a sum, and keeps the learning rate of every update."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 1)
        self.lrs, self.seen = [], []

    def training_step(self, batch, _number):
        """Return the loss."""
        inputs, targets = batch
        return nn.functional.mse_loss(self.net(inputs), targets)

    def validation_step(self, batch, _number):
        """Log the loss, and a figure beside it."""
        inputs, targets = batch
        loss = nn.functional.mse_loss(self.net(inputs), targets)
        self.log_dict({"val_loss": loss, "mae": (self.net(inputs) - targets).abs().mean()})

    def on_before_optimizer_step(self, optimizer):
        """Note the rate of the update that comes."""
        self.lrs.append(optimizer.param_groups[0]["lr"])

    def on_validation_epoch_end(self):
        """Note what is reported."""
        if not self.trainer.sanity_checking:
            self.seen.append(float(self.trainer.callback_metrics["val_loss"]))


class Data(LightningDataModule):
    """Six batches to learn from, and two to validate on."""

    def _loader(self, examples, seed, **options):
        inputs = torch.randn(examples, 3, generator=torch.Generator().manual_seed(seed))
        return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=8, **options)

    def train_dataloader(self):
        """Return shuffled batches."""
        return self._loader(8 * BATCHES, 0, shuffle=True)

    def val_dataloader(self):
        """Return batches in order."""
        return self._loader(16, 1)


def study_file(**keys):
    """Write a study of scripts, and return its path."""
    content = {"task": '"external"', "trials": 2, "epochs": EPOCHS, "pruner": '"none"', **keys}
    Path("script.toml").write_text("\n".join(f"{name} = {value}" for name, value in content.items()))
    return "script.toml"


def trainer_for(trial, *callbacks, **arguments):
    """Return a trainer that shows and saves nothing."""
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet = {**silent, "enable_model_summary": False, "accelerator": "cpu"}
    callbacks = [*callbacks, TrialCallback(trial)]
    return Trainer(**{**quiet, "max_epochs": trial.epochs, "callbacks": callbacks, **arguments})


def fitted(trial, net=None, data=None, *callbacks, **arguments):
    """Fit a module with a trial, and return it."""
    net = net or Net()
    net.configure_optimizers = lambda: configure_optimizers(net, trial)
    trainer_for(trial, *callbacks, **arguments).fit(net, datamodule=data or Data())
    return net


def records(name="script"):
    """Return the trials of a study."""
    with open_database(os.environ["LRSEARCH_STORAGE"]) as database:
        return trial_records(database, find_study(database, name))


def curve(name="script"):
    """Return the reported epochs of a study's first trial."""
    with open_database(os.environ["LRSEARCH_STORAGE"]) as database:
        return curves(database, find_study(database, name).uuid)


def test_every_epoch_is_reported_with_its_loss_and_the_sanity_check_is_not():
    """The last loss is the trial's value; metrics that are asked for stand beside it."""
    net = fit_with(metrics=("mae",))
    [record] = records()
    assert (record.state, record.epochs) == ("COMPLETE", EPOCHS)
    assert record.value == pytest.approx(net.seen[-1])
    assert [each.valid_loss for each in curve()] == pytest.approx(net.seen)
    assert all(each.metrics["mae"] > 0 for each in curve())


@pytest.mark.parametrize("kind", ["OneCycleLR", "StepLR", "WSD"])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_every_update_has_the_learning_rate_of_the_trials_schedule(kind, accumulate):
    """Also where several batches make an update, and the last ones of an epoch are fewer."""
    path = study_file()
    with Path(path).open("a") as file:
        file.write(f'\n[space]\nkinds = ["{kind}"]\n')
    with lrsearch.trial(path) as trial:
        net = fitted(trial, accumulate_grad_batches=accumulate)
        updates = -(-BATCHES // accumulate)
        schedule = Schedule(trial.hyperparameters, EPOCHS, updates)
    expected = schedule.lrs(np.arange(EPOCHS * updates, dtype=np.float64))
    assert net.lrs == pytest.approx(list(expected), rel=1e-9)


def test_a_schedule_that_waits_for_losses_gets_those_of_the_validation():
    """The plateau's learning rate falls after epochs without gain, and not before."""
    path = study_file(epochs=4)
    with Path(path).open("a") as file:
        file.write('\n[space]\nlr = 1e-6\nwarmup_fraction = 0.0\nkinds = ["ReduceLROnPlateau"]\n')
        file.write("[space.ReduceLROnPlateau]\nfactor = 0.5\npatience = 0\nthreshold = 0.1\n")
    with lrsearch.trial(path) as trial:
        net = fitted(trial)
    halvings = [round(np.log2(1e-6 / lr)) for lr in net.lrs[::BATCHES]]
    assert halvings == [0, 0, 1, 2]


def test_a_trial_that_diverges_ends_the_fit_and_is_pruned():
    """What follows the fit in the block does not run; the next trial begins as usual."""
    reached = []
    with lrsearch.trial(study_file(), diverged_above=1e-9) as trial:
        fitted(trial)
        reached.append("what follows")
    assert reached == []
    [record] = records()
    assert (record.state, record.diverged, record.epochs) == ("PRUNED", True, 1)


def test_validations_within_an_epoch_make_one_report_of_its_last_loss():
    """Half-way through an epoch its schedule may not be judged."""
    with lrsearch.trial(study_file()) as trial:
        net = fitted(trial, val_check_interval=0.5)
    assert len(net.seen) == 2 * EPOCHS
    assert [each.valid_loss for each in curve()] == pytest.approx(net.seen[1::2])


def test_epochs_without_validation_are_not_reported():
    """Where it validates every second epoch, every second one counts."""
    path = study_file(epochs=4)
    with Path(path).open("a") as file:
        file.write('\n[space]\nkinds = ["LinearLR"]\n')
    with lrsearch.trial(path) as trial:
        fitted(trial, check_val_every_n_epoch=2)
    assert [each.epoch for each in curve()] == [2, 4]


def test_a_schedule_free_optimizer_is_judged_by_its_average():
    """Its mode changes for each validation, and at the end the average is in the module."""
    modes = []

    class Modes(Callback):
        def on_validation_batch_start(self, trainer, *_):
            modes.append(trainer.optimizers[0].param_groups[0]["train_mode"])

        def on_train_batch_start(self, trainer, *_):
            modes.append(trainer.optimizers[0].param_groups[0]["train_mode"])

    path = study_file()
    with Path(path).open("a") as file:
        file.write('\n[optimizer]\nname = "SGDScheduleFree"\n')
    with lrsearch.trial(path) as trial:
        net = fitted(trial, None, None, Modes(), num_sanity_val_steps=0)
    assert modes == ([True] * BATCHES + [False] * 2) * EPOCHS
    assert not net.trainer.optimizers[0].param_groups[0]["train_mode"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_epochs": 7}, r"has 3 epochs.*max_epochs=7: Trainer\(max_epochs=trial\.epochs\)"),
        ({"limit_val_batches": 0}, r"validates nothing: give it validation batches"),
        ({"max_steps": 5}, r"leave max_steps out"),
    ],
)
def test_a_trainer_that_does_not_fit_the_trial_is_refused(arguments, message):
    """Before anything is trained, with what helps."""
    with pytest.raises(InputError, match=message), lrsearch.trial(study_file()) as trial:
        fitted(trial, **arguments)


class Endless(IterableDataset):
    """Examples without a number."""

    def __iter__(self):
        while True:
            yield torch.randn(3), torch.randn(1)


def test_data_without_a_length_need_a_limit():
    """As its schedule must know how many updates an epoch has."""

    class Stream(Data):
        def train_dataloader(self):
            return DataLoader(Endless(), batch_size=8)

    path = study_file()
    with pytest.raises(InputError, match=r"limit_train_batches"), lrsearch.trial(path) as trial:
        fitted(trial, None, Stream())
    with lrsearch.trial(path) as trial:
        assert len(fitted(trial, None, Stream(), limit_train_batches=5).lrs) == 5 * EPOCHS


def fit_with(**options):
    """Train a trial with a callback of these options."""
    with lrsearch.trial(study_file()) as trial:
        net = Net()
        net.configure_optimizers = lambda: configure_optimizers(net, trial)
        trainer_for(trial, callbacks=[TrialCallback(trial, **options)]).fit(net, datamodule=Data())
        return net


def test_a_loss_that_is_not_logged_is_told_with_those_that_are():
    """And the trial has failed."""
    with pytest.raises(InputError, match=r"has not logged 'loss', but 'mae', 'val_loss'"):
        fit_with(monitor="loss")
    assert records()[0].state == "FAIL"


def test_a_search_in_one_call_returns_the_best_trial_ready_to_be_built(capsys):
    """The module's own optimizer is not asked for; the study is stored, and goes on under its name."""

    class Own(Net):
        def configure_optimizers(self):
            raise AssertionError("not asked")

    arguments = {"epochs": 2, "name": "sums", "trainer": {"accelerator": "cpu"}}
    result = optimize(Own, Data(), trials=5, **arguments)
    assert len(result.trials) == 5
    assert result.value == min(each.value for each in records("sums") if each.state == "COMPLETE")
    optimizer, scheduler = result.build(Own())
    assert isinstance(optimizer, torch.optim.SGD)
    assert scheduler.schedule.total_steps == 2 * BATCHES
    assert len(optimize(Own, Data(), trials=6, **arguments).trials) == 6
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "GPU available" not in printed.err


def test_all_trials_of_a_search_begin_with_the_same_weights():
    """Learning rates are compared, and not luck."""
    weights = []

    class Noted(Net):
        def __init__(self):
            super().__init__()
            weights.append(self.net.weight.detach().clone())

    optimize(Noted, Data(), trials=3, epochs=1, trainer={"accelerator": "cpu"})
    assert all(torch.equal(each, weights[0]) for each in weights)


def test_what_a_search_cannot_use_is_refused_before_training():
    """Lengths of the trainer's own, and unknown names."""
    with pytest.raises(InputError, match=r"epochs=2: leave max_epochs out of trainer"):
        optimize(Net, Data(), epochs=2, trainer={"max_epochs": 3})
    with pytest.raises(SpecError, match=r"Did you mean"):
        optimize(Net, Data(), epochs=2, optimizer="SDG")


@pytest.mark.slow
def test_without_lightning_the_command_that_installs_it_is_told():
    """And ``import lrsearch`` does not import it."""
    program = (
        "import sys; sys.modules['lightning'] = None; sys.modules['lightning.pytorch'] = None\n"
        "import lrsearch\n"
        "try:\n    import lrsearch.lightning\n"
        "except lrsearch.errors.InputError as error:\n    print(error)\n"
    )
    words = [sys.executable, "-c", f"import lrsearch.errors\n{program}"]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "pip install 'lrsearch[lightning]'" in printed
