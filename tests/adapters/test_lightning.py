"""Searches with Lightning, against the real library: what is reported, when a fit ends, with which rates."""

import gc
import importlib
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    StochasticWeightAveraging,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger
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


class OtherNet(pytorch_lightning.LightningModule):
    """A module of Lightning's other package."""


class OtherData(pytorch_lightning.LightningDataModule):
    """Data of Lightning's other package."""


def study_file(**keys):
    """Write a study of scripts, and return its path."""
    content = {"task": '"external"', "trials": 2, "epochs": EPOCHS, "pruner": '"none"', **keys}
    Path("script.toml").write_text("\n".join(f"{name} = {value}" for name, value in content.items()))
    return "script.toml"


def schedule_free_study():
    """Write a study of scripts that train with a schedule-free optimizer, and return its path."""
    path = study_file()
    with Path(path).open("a") as file:
        file.write('\n[optimizer]\nname = "SGDScheduleFree"\n')
    return path


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


@pytest.mark.parametrize(("interval", "before", "after"), [(1.0, BATCHES, 0), (0.7, 4, BATCHES - 4)])
def test_a_schedule_free_optimizer_is_judged_by_its_average(interval, before, after):
    """Its mode changes for each validation, also one that batches follow; at the end the average is there."""
    modes = []

    class Noting(Net):
        def training_step(self, batch, number):
            modes.append(self.trainer.optimizers[0].param_groups[0]["train_mode"])
            return super().training_step(batch, number)

        def validation_step(self, batch, number):
            modes.append(self.trainer.optimizers[0].param_groups[0]["train_mode"])
            super().validation_step(batch, number)

    with lrsearch.trial(schedule_free_study()) as trial:
        net = fitted(trial, Noting(), num_sanity_val_steps=0, val_check_interval=interval)
    assert modes == ([True] * before + [False] * 2 + [True] * after) * EPOCHS
    assert [each.epoch for each in curve()] == [1, 2, 3]
    assert not net.trainer.optimizers[0].param_groups[0]["train_mode"]


def test_a_checkpoint_holds_the_weights_that_were_judged():
    """Those of a schedule-free optimizer's average, whose loss is that of the file."""
    saving = ModelCheckpoint(dirpath="saved", monitor="val_loss")
    with lrsearch.trial(schedule_free_study()) as trial:
        fitted(trial, None, None, saving, enable_checkpointing=True)
    kept = Net()
    kept.load_state_dict(torch.load(saving.best_model_path, weights_only=True)["state_dict"])
    inputs, targets = next(iter(DataLoader(Data().val_dataloader().dataset, batch_size=16)))
    loss = nn.functional.mse_loss(kept.net(inputs), targets).item()
    assert loss == pytest.approx(saving.best_model_score.item(), rel=1e-5)


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


def test_a_module_that_optimizes_by_itself_is_refused():
    """For Lightning would not step the trial's scheduler, and all trials would have a constant rate."""

    class Manual(Net):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

    with (
        pytest.raises(InputError, match=r"automatic_optimization=False"),
        lrsearch.trial(study_file()) as trial,
    ):
        fitted(trial, Manual())


@pytest.mark.parametrize("kind", ["ReduceLROnPlateau", "LinearLR"])
def test_a_training_that_is_broken_off_within_an_epoch_reports_that_epoch(kind):
    """As complete, with what is validated at the end; also where the schedule waits for losses."""

    class Impatient(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step == BATCHES + 2

    path = study_file()
    with Path(path).open("a") as file:
        file.write(f'\n[space]\nkinds = ["{kind}"]\n')
    with lrsearch.trial(path) as trial:
        net = fitted(trial, None, None, Impatient())
    assert len(net.lrs) == BATCHES + 2
    assert [each.valid_loss for each in curve()] == pytest.approx(net.seen)
    assert [each.epoch for each in curve()] == [1, 2]


def set_rate(optimizer):
    """Set the learning rate, as a module with a warm-up of its own does."""
    optimizer.param_groups[0]["lr"] = 0.05


class WarmInStep(Net):
    """Sets the rate where it steps the optimizer."""

    def optimizer_step(self, _epoch, _number, optimizer, closure):
        """Warm up."""
        set_rate(optimizer)
        optimizer.step(closure=closure)


class WarmBeforeStep(Net):
    """Sets the rate in a hook."""

    def on_before_optimizer_step(self, optimizer):
        """Warm up."""
        set_rate(optimizer)


class StepsByEpoch(Net):
    """Steps its scheduler as those of timm are stepped."""

    def lr_scheduler_step(self, scheduler, _metric):
        """Step to the epoch."""
        scheduler.step(epoch=self.current_epoch)


class StepsAfterEpoch(Net):
    """Steps a scheduler of its own after each epoch, and finds the trial's there."""

    def on_train_epoch_end(self):
        """Step it once more."""
        self.lr_schedulers().step()


class StepsAfterValidation(Net):
    """The same after each validation."""

    def on_validation_epoch_end(self):
        """Step it once more."""
        self.lr_schedulers().step()


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (WarmInStep, r"update 1 had 0\.05: leave out .* optimizer_step"),
        (WarmBeforeStep, r"update 1 had 0\.05: leave out .* another of its hooks"),
        (StepsByEpoch, r"after update 1 it is off by -1: .* lr_scheduler_step"),
        (StepsAfterEpoch, rf"after update {BATCHES + 1} it is off by \+1: .* self\.lr_schedulers"),
        (StepsAfterValidation, rf"after update {BATCHES + 1} it is off by \+1: "),
    ],
)
def test_a_module_that_sets_its_own_rates_is_refused(module, message):
    """Else all trials would train alike, or none by its schedule; the mistake costs no trial."""
    arguments = {"accelerator": "cpu", "num_sanity_val_steps": 0}
    with pytest.raises(InputError, match=message):
        optimize(module, Data(), trials=2, epochs=2, kinds=["LinearLR"], name="own", trainer=arguments)
    assert [each.state for each in records("own")] == ["RUNNING"]  # it waits for the next call


def test_a_callback_that_sets_the_rate_is_refused():
    """As a module that does."""

    class Warm(Callback):
        def on_train_batch_start(self, trainer, *_):
            set_rate(trainer.optimizers[0])

    arguments = {"accelerator": "cpu", "callbacks": Warm()}
    with pytest.raises(InputError, match=r"update 1 had 0\.05: .* or a callback"):
        optimize(Net, Data(), trials=1, epochs=1, kinds=["LinearLR"], trainer=arguments)


@pytest.mark.parametrize("kind", ["ReduceLROnPlateau", "LinearLR"])
def test_whoever_keeps_to_the_schedule_is_not_refused(kind):
    """With batches that make an update together, validations inside an epoch, and groups with rates."""

    class Stepping(Net):
        def optimizer_step(self, _epoch, _number, optimizer, closure):
            optimizer.step(closure=closure)
            set_rate(optimizer)  # which the scheduler sets anew before the next update

    arguments = {"accelerator": "cpu", "accumulate_grad_batches": 4, "val_check_interval": 0.5}
    groups = {"*bias": {"lr_scale": 0.1}}
    result = optimize(
        Stepping, Data(), trials=2, epochs=3, kinds=[kind], groups=groups, pruner="none", trainer=arguments
    )
    assert [each.epochs for each in result.records] == [3, 3]


def test_a_loader_may_leave_batches_out():
    """Lightning trains nothing then, and steps the scheduler all the same."""

    class Gaps(Data):
        def train_dataloader(self):
            loader = super().train_dataloader()
            usual, number = loader.collate_fn, iter(range(1000))
            loader.collate_fn = lambda examples: None if next(number) % 3 == 1 else usual(examples)
            return loader

    result = optimize(Net, Gaps(), trials=1, epochs=2, kinds=["LinearLR"], trainer={"accelerator": "cpu"})
    assert [each.epochs for each in result.records] == [2]


def test_after_a_fit_the_optimizer_is_its_owners():
    """Who trains on in a loop of their own sets the rates there."""
    with lrsearch.trial(study_file()) as trial:
        optimizer = fitted(trial).trainer.optimizers[0]
    set_rate(optimizer)
    optimizer.step()


def test_a_schedule_that_was_built_for_longer_epochs_is_told_so():
    """A whole epoch is none that was broken off."""
    path = study_file()
    with Path(path).open("a") as file:
        file.write('\n[space]\nkinds = ["ReduceLROnPlateau"]\n')

    def fit():
        with lrsearch.trial(path) as trial:
            net = Net()
            optimizer, scheduler = trial.build(net, steps_per_epoch=BATCHES + 2)
            each_update = {"scheduler": scheduler, "interval": "step"}
            net.configure_optimizers = lambda: {"optimizer": optimizer, "lr_scheduler": each_update}
            trainer_for(trial).fit(net, datamodule=Data())

    with pytest.raises(SpecError, match=rf"an epoch of {BATCHES + 2} updates"):
        fit()


def test_an_epoch_that_a_hook_cuts_short_is_no_meddling_with_the_schedule():
    """Though Lightning steps the scheduler there without an update."""

    class Short(Net):
        def on_train_batch_start(self, _batch, number):
            return -1 if self.current_epoch == 0 and number == 2 else None

    path = study_file()
    with Path(path).open("a") as file:
        file.write('\n[space]\nkinds = ["LinearLR"]\n')
    with lrsearch.trial(path) as trial:
        fitted(trial, Short())
    assert [each.epoch for each in curve()] == [2, 3]


def test_stochastic_weight_averaging_may_take_the_schedulers_place():
    """It is asked for, and puts in a scheduler of its own for the last epochs."""
    averaging = StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)
    arguments = {"accelerator": "cpu", "callbacks": averaging}
    result = optimize(Net, Data(), trials=1, epochs=3, kinds=["LinearLR"], pruner="none", trainer=arguments)
    assert [each.epochs for each in result.records] == [3]


def test_a_schedule_that_waits_for_losses_needs_a_validation_after_every_epoch():
    """Else its rate would not be known; it is refused before anything is trained."""
    path = study_file(epochs=4)
    with Path(path).open("a") as file:
        file.write('\n[space]\nkinds = ["ReduceLROnPlateau"]\n')
    with (
        pytest.raises(InputError, match=r"ReduceLROnPlateau waits .* check_val_every_n_epoch=2"),
        lrsearch.trial(path) as trial,
    ):
        fitted(trial, check_val_every_n_epoch=2)


def test_processes_that_train_together_share_a_trial(monkeypatch):
    """Else each would train with hyperparameters of its own; how they come to one is told."""
    monkeypatch.setattr(Trainer, "world_size", 2)
    with pytest.raises(InputError, match=r"2 processes .* torchrun"), lrsearch.trial(study_file()) as trial:
        fitted(trial)


def test_ctrl_c_in_a_fit_gives_the_trial_back():
    """Though Lightning makes an exit with code 1 of it: nothing has failed."""

    class Interrupted(Net):
        def on_train_epoch_start(self):
            raise KeyboardInterrupt

    with pytest.raises(SystemExit), lrsearch.trial(study_file()) as trial:
        fitted(trial, Interrupted())
    assert [each.state for each in records()] == ["RUNNING"]
    with lrsearch.trial("script") as again:
        assert again.number == trial.number
        again.report(1, 0.5)


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


class Untrained(Net):
    """Fails as soon as it is trained."""

    def training_step(self, _batch, _number):
        """Fail."""
        raise AssertionError("trained")


def fit_with(module=Net, **options):
    """Train a trial with a callback of these options."""
    with lrsearch.trial(study_file()) as trial:
        net = module()
        net.configure_optimizers = lambda: configure_optimizers(net, trial)
        trainer_for(trial, callbacks=[TrialCallback(trial, **options)]).fit(net, datamodule=Data())
        return net


def test_a_loss_that_is_not_logged_is_told_with_those_that_are():
    """By the sanity check, before an epoch is trained for nothing."""
    with pytest.raises(
        InputError, match=r"has not logged 'loss', but 'mae', 'val_loss'.*num_sanity_val_steps=0"
    ):
        fit_with(monitor="loss", module=Untrained)
    assert records()[0].state == "FAIL"


def test_without_a_sanity_check_a_loss_that_is_not_logged_is_told_after_an_epoch():
    """Some modules log it only then, or log nothing in a sanity check."""

    class Late(Net):
        def validation_step(self, batch, number):
            if not self.trainer.sanity_checking:
                super().validation_step(batch, number)

    fit_with(module=Late)
    assert records()[0].state == "COMPLETE"
    with pytest.raises(InputError, match=r"has not logged 'loss', but 'mae', 'val_loss'"):
        fit_with(monitor="loss", module=Late)


def test_a_search_in_one_call_returns_the_best_trial_ready_to_be_built():
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


@pytest.mark.parametrize("progress", [True, False])
def test_a_search_shows_its_progress_and_no_more(progress, capsys, caplog):
    """Lightning would say before each trial which devices there are; the bar can be left out too."""
    arguments = {"pruner": "none", "progress": progress, "trainer": {"accelerator": "cpu"}}
    optimize(Net, Data(), trials=3, epochs=1, **arguments)
    printed = capsys.readouterr()
    assert printed.out == ""
    shown = re.findall(r"\b\d/3 \[", printed.err)
    assert [*shown[:1], *shown[-1:]] == (["0/3 [", "3/3 ["] if progress else [])  # it may skip some between
    assert re.sub(r".*/3 \[.*", "", printed.err).strip() == ""
    assert "GPU available" not in caplog.text
    Trainer(accelerator="cpu", logger=False)
    assert "GPU available" in caplog.text  # afterwards Lightning says it as before


def test_processes_that_train_together_are_refused_by_a_search(monkeypatch, storage):
    """Those that torchrun starts would each have a search of its own; how they share trials is told."""
    for name, value in {
        "TORCHELASTIC_RUN_ID": "1",
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"in one process, but 2 would train together. Let torchrun"):
        optimize(Net, Data(), epochs=1, trainer={"accelerator": "cpu"})
    assert not Path(storage.removeprefix("sqlite:///")).exists()


def test_all_trials_of_a_search_begin_with_the_same_weights():
    """And have the same order of batches: learning rates are compared, and not luck."""
    weights, batches = [], []

    class Noted(Net):
        def __init__(self):
            super().__init__()
            weights.append(self.net.weight.detach().clone())

        def on_train_batch_start(self, batch, number):
            if number == 0:
                batches.append(batch[0].clone())

    optimize(Noted, Data(), trials=3, epochs=1, trainer={"accelerator": "cpu"})
    optimize(Noted, Data(), trials=1, epochs=1, seed=1, trainer={"accelerator": "cpu"})
    assert len(weights) == len(batches) == 4
    for noted in (weights, batches):
        assert [torch.equal(each, noted[0]) for each in noted] == [True, True, True, False]


def test_a_compiled_module_trains_with_the_trials_optimizer():
    """Lightning asks the module inside for its optimizer, and that is not the one it was given."""

    class Own(Net):
        def configure_optimizers(self):
            raise AssertionError("not asked")

    def compiled():
        return torch.compile(Own(), backend="eager")

    result = optimize(compiled, Data(), trials=2, epochs=1, trainer={"accelerator": "cpu"})
    assert result.steps_per_epoch == BATCHES
    assert len({each.value for each in result.records}) == 2
    with pytest.raises(InputError, match=r"lambda: Net\(width=64\), but got OptimizedModule"):
        optimize(compiled(), Data(), epochs=1)


def test_layers_that_the_first_batch_sizes_are_trained():
    """Until then nobody can tell how many weights the module has."""

    class Lazy(Net):
        def __init__(self):
            super().__init__()
            self.net = nn.LazyLinear(1)

    assert len(optimize(Lazy, Data(), trials=2, epochs=1, trainer={"accelerator": "cpu"}).trials) == 2


def test_a_trial_knows_nothing_of_what_another_taught_its_callbacks():
    """Each early stopping has its own patience: all trials stop after as many epochs."""
    impatient = EarlyStopping("val_loss", patience=1, min_delta=10)
    arguments = {"accelerator": "cpu", "callbacks": impatient}
    result = optimize(Net, Data(), trials=3, epochs=4, pruner="none", trainer=arguments)
    assert [each.epochs for each in result.records] == [2, 2, 2]


@pytest.mark.parametrize("several", [False, True])
def test_each_trial_has_a_log_of_its_own(several):
    """A logger that is given takes a new version for each."""
    logger = CSVLogger("logs", name="net")
    arguments = {"accelerator": "cpu", "logger": [logger] if several else logger}
    optimize(Net, Data(), trials=2, epochs=2, pruner="none", trainer=arguments)
    logs = sorted(Path("logs").rglob("metrics.csv"))
    assert [each.parent.name for each in logs] == ["version_0", "version_1"]
    assert [each.read_text().count("\n") for each in logs] == [3, 3]


def test_callbacks_that_save_or_show_may_be_given():
    """Though without them nothing is saved or shown."""
    callbacks = [ModelCheckpoint(dirpath="saved"), TQDMProgressBar(refresh_rate=0)]
    optimize(Net, Data(), trials=1, epochs=1, trainer={"accelerator": "cpu", "callbacks": callbacks})
    assert len(list(Path("saved").glob("*.ckpt"))) == 1


def test_a_callback_that_cannot_be_copied_is_refused(storage):
    """Before there is a study, as each trial needs one."""

    class Locked(Callback):
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.raises(
        InputError, match=r"copies of trainer's callbacks, but one cannot be copied \(cannot pickle"
    ):
        optimize(Net, Data(), epochs=1, trainer={"accelerator": "cpu", "callbacks": Locked()})
    assert not Path(storage.removeprefix("sqlite:///")).exists()


def test_a_module_that_brings_its_data_needs_no_other():
    """As Lightning's own fit."""

    class WithData(Net):
        def train_dataloader(self):
            return Data().train_dataloader()

        def val_dataloader(self):
            return Data().val_dataloader()

    assert optimize(WithData, trials=1, epochs=1, trainer={"accelerator": "cpu"}).steps_per_epoch == BATCHES


def test_a_trained_module_is_not_trained_on():
    """Each trial begins with new weights, or its loss would be the work of all before it."""
    net = Net()
    with pytest.raises(InputError, match=r"each trial begins with new weights, but module"):
        optimize(lambda: net, Data(), trials=3, epochs=1, name="same", trainer={"accelerator": "cpu"})
    assert [each.state for each in records("same")] == ["COMPLETE", "RUNNING"]


def test_frozen_weights_may_be_shared_by_all_trials():
    """As of a large model of which a small part is trained."""
    backbone = nn.Linear(3, 3).requires_grad_(False)

    class Head(Net):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(backbone, nn.Linear(3, 1))

    assert len(optimize(Head, Data(), trials=2, epochs=1, trainer={"accelerator": "cpu"}).trials) == 2


def test_the_memory_of_a_trial_is_free_when_the_next_begins():
    """Though its trainer and its module refer to each other."""
    alive, modules = [], []

    class Counted(Net):
        def __init__(self):
            super().__init__()
            alive.append(sum(each() is not None for each in modules))
            modules.append(weakref.ref(self))

    gc.disable()  # so that nothing is free by chance
    try:
        optimize(Counted, Data(), trials=3, epochs=1, trainer={"accelerator": "cpu"})
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


def test_ctrl_c_ends_a_search_and_tells_how_to_go_on(capsys):
    """As a KeyboardInterrupt, after which a notebook can be interrupted again."""

    class Interrupted(Net):
        def on_train_epoch_start(self):
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        optimize(Interrupted, Data(), epochs=2, name="stopped", trainer={"accelerator": "cpu"})
    assert signal.getsignal(signal.SIGINT) is handler
    assert "interrupted; go on with name='stopped'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trainer": {"max_epochs": 3}}, r"epochs=2: leave max_epochs out of trainer"),
        ({"trainer": {"check_val_every_n_epoch": 2}}, r"limit_val_batches makes validation shorter"),
        ({"trainer": {"accelerator": "cpu", "devices": 2}}, r"in one process, but 2 would train together"),
        ({"module": Net()}, r"such as its class Net or lambda: Net\(width=64\), but got Net"),
        (
            {"module": torch.compile(Net(), backend="eager")},
            r"lambda: Net\(width=64\), but got OptimizedModule",
        ),
        ({"module": nn.Linear}, r"makes a new LightningModule .* but got <class .*Linear"),
        (
            {"module": OtherNet},
            r"module is of the package pytorch_lightning: import lightning\.pytorch as pl",
        ),
        ({"datamodule": Data}, r"datamodule is a LightningDataModule, not its class"),
        ({"datamodule": OtherData()}, r"datamodule is of the package pytorch_lightning"),
        ({"trainer": Trainer(logger=False)}, r"a table of Trainer's arguments.* but got <lightning"),
        ({"n_trials": 5}, r"argument of lrsearch\.lightning\.optimize: 'n_trials'. Did you mean 'trials'"),
        ({"device": "cpu"}, r"'device'\. Known: .*, storage, trainer"),
        ({"metrics": "mae"}, r"metrics are names, such as metrics=\('mae',\), but got 'mae'"),
        ({"metrics": ("mae", "epoch")}, r"what every report has, but got 'epoch'"),
        ({"kinds": "LinearLR"}, r"kinds=\['LinearLR'\], but got 'LinearLR'"),
    ],
)
def test_what_a_search_cannot_use_is_refused_before_training(arguments, message, storage):
    """And before there is a study."""
    with pytest.raises(InputError, match=message):
        optimize(**{"module": Net, "datamodule": Data(), "epochs": 2, **arguments})
    assert not Path(storage.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: None, r"makes a new LightningModule .* but made None"),
        (lambda: nn.Linear(1, 1), r"but made Linear"),
        (lambda: OtherNet(), r"is of the package pytorch_lightning"),  # not the class itself
    ],
)
def test_what_makes_no_module_is_told_so(made, message):
    """In the words of the argument, and not by what Lightning finds missing in it."""
    with pytest.raises(InputError, match=message):
        optimize(made, Data(), epochs=1, trials=1, trainer={"accelerator": "cpu"})


@pytest.mark.parametrize(
    ("metrics", "message"), [("mae", r"\('mae',\)"), (("valid_loss",), r"every report has")]
)
def test_a_callback_refuses_names_that_are_none(metrics, message):
    """As a search does."""
    with lrsearch.trial(study_file()) as trial:
        with pytest.raises(InputError, match=message):
            TrialCallback(trial, metrics=metrics)
        trial.report(1, 0.5)


def test_a_misspelt_name_is_told_with_the_one_that_was_meant():
    """As everywhere."""
    with pytest.raises(SpecError, match=r"Did you mean"):
        optimize(Net, Data(), epochs=2, optimizer="SDG")


def test_without_lightning_the_command_that_installs_it_is_told(monkeypatch):
    """Where the adapter is imported."""
    monkeypatch.delitem(sys.modules, "lrsearch.lightning")
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(InputError, match=r"pip install 'lrsearch\[lightning\]'"):
        importlib.import_module("lrsearch.lightning")


def test_lrsearch_imports_no_adapter():
    """What a program does not use need not be installed."""
    program = "import lrsearch, sys; print({'lightning', 'transformers', 'accelerate'} & sys.modules.keys())"
    words = [sys.executable, "-c", f"import lrsearch.api.trials\n{program}"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "set()\n"
