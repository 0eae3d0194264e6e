"""Searches with Hugging Face's Trainer, against the real library, on a tiny model that nobody downloads."""

import gc
import importlib
import os
import sys
import weakref
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import IterableDataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import lrsearch
from lrsearch.api.trials import train_trials
from lrsearch.errors import InputError, SpecError
from lrsearch.schedules import Schedule
from lrsearch.storage.database import open_database
from lrsearch.storage.epochs import curves
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records
from lrsearch.transformers import TrialCallback, attach, optimize, updates_per_epoch
from tests.documentation.pages import blocks_of

pytestmark = pytest.mark.slow  # transformers takes seconds to import, and to make a Trainer

EPOCHS, WORDS = 2, 20


def sentences(count, seed):
    """Return sentences of random words, labelled by which half has the larger numbers."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(0, WORDS, (count, 8), generator=generator)
    labels = (words[:, :4].sum(1) > words[:, 4:].sum(1)).long()
    return [{"input_ids": each, "labels": label} for each, label in zip(words, labels, strict=True)]


class Rates(TrainerCallback):
    """Notes the learning rate of every update, and the losses that are reported."""

    def __init__(self, monitor="eval_loss"):
        self._monitor = monitor
        self.lrs, self.losses, self.modes = [], [], []

    def on_pre_optimizer_step(self, _args, _state, _control, **kwargs):
        """Before an update."""
        group = kwargs["optimizer"].param_groups[0]
        self.lrs.append(group["lr"])
        self.modes.append(group.get("train_mode"))

    def on_evaluate(self, _args, _state, _control, **kwargs):
        """After an evaluation."""
        if self._monitor in kwargs["metrics"]:
            self.losses.append(kwargs["metrics"][self._monitor])
        self.modes.append(kwargs["optimizer"].param_groups[0].get("train_mode"))


def trainer(callbacks=(), data=None, **arguments):
    """Return a trainer with a new model: 44 sentences in batches of 8, the last of them smaller."""
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=WORDS, num_labels=2, **shape))
    usual = {
        "output_dir": "out",
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": 8,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return Trainer(
        model,
        TrainingArguments(**{**usual, **arguments}),
        train_dataset=sentences(44, 0) if data is None else data,
        eval_dataset=sentences(16, 1),
        callbacks=list(callbacks),
    )


def study_file(space="", optimizer="AdamW"):
    """Write a study of scripts, and return its path."""
    head = f'task = "external"\ntrials = 2\nepochs = {EPOCHS}\npruner = "none"\n'
    Path("script.toml").write_text(f'{head}[optimizer]\nname = "{optimizer}"\n[space]\n{space}\n')
    return "script.toml"


def stored(read, name="script"):
    """Return what a function reads of a study."""
    with open_database(os.environ["LRSEARCH_STORAGE"]) as database:
        return read(database, find_study(database, name))


def test_every_epoch_is_reported_with_its_loss():
    """The last one is the trial's value; metrics that are asked for stand beside it."""
    rates = Rates()
    with lrsearch.trial(study_file()) as trial:
        made = trainer([rates])
        attach(made, trial, metrics=("eval_runtime",))
        made.train()
    [record] = stored(trial_records)
    assert (record.state, record.epochs, record.value) == (
        "COMPLETE",
        EPOCHS,
        pytest.approx(rates.losses[-1]),
    )
    curve = stored(lambda database, record: curves(database, record.uuid))
    assert [(each.epoch, each.valid_loss) for each in curve] == [
        (number, pytest.approx(loss)) for number, loss in enumerate(rates.losses, 1)
    ]
    assert all(each.metrics["eval_runtime"] > 0 for each in curve)


@pytest.mark.parametrize("kind", ["OneCycleLR", "StepLR", "ReduceLROnPlateau"])
@pytest.mark.parametrize(("accumulation", "updates"), [(1, 6), (4, 2)])
def test_every_update_has_the_learning_rate_of_the_trials_schedule(kind, accumulation, updates):
    """Also where several batches make an update, and the last ones of an epoch are fewer."""
    rates = Rates()
    with lrsearch.trial(study_file(f'kinds = ["{kind}"]')) as trial:
        made = trainer([rates], gradient_accumulation_steps=accumulation)
        assert updates_per_epoch(made) == updates
        attach(made, trial)
        made.train()
        schedule = Schedule(trial.hyperparameters, EPOCHS, updates)
    state, expected = schedule.start(), []
    for epoch, loss in enumerate(rates.losses):
        expected += list(schedule.epoch_lrs(epoch, state))
        state = schedule.update(state, loss)
    assert rates.lrs == pytest.approx(expected, rel=1e-9)


def test_an_update_that_overflows_leaves_the_schedule_where_the_training_is(monkeypatch):
    """In half precision the Trainer counts such an update, and does not step the scheduler."""
    overflows = iter([True, True])
    monkeypatch.setattr(Accelerator, "optimizer_step_was_skipped", property(lambda _: next(overflows, False)))
    rates = Rates()
    with lrsearch.trial(study_file('kinds = ["ReduceLROnPlateau"]\nwarmup_fraction = 0.5')) as trial:
        made = trainer([rates])
        _, scheduler = attach(made, trial)
        made.train()
        schedule = Schedule(trial.hyperparameters, EPOCHS, 6)
    state = schedule.update(schedule.start(), rates.losses[0])
    assert rates.lrs[6:] == pytest.approx(list(schedule.epoch_lrs(1, state)), rel=1e-9)
    assert scheduler.last_epoch == 6 * EPOCHS


def test_of_several_evaluation_sets_the_one_that_is_named_counts():
    """The Trainer evaluates one after the other; figures may be of any."""
    rates = Rates("eval_second_loss")
    with lrsearch.trial(study_file()) as trial:
        made = trainer([rates])
        made.eval_dataset = {"first": sentences(8, 2), "second": sentences(16, 1), "third": sentences(8, 3)}
        attach(made, trial, monitor="eval_second_loss", metrics=("eval_first_loss",))
        made.train()
    curve = stored(lambda database, record: curves(database, record.uuid))
    assert [each.valid_loss for each in curve] == pytest.approx(rates.losses)
    assert all(each.metrics["eval_first_loss"] > 0 for each in curve)


def test_evaluations_before_and_after_the_training_are_not_reported():
    """They belong to no epoch."""
    with lrsearch.trial(study_file()) as trial:
        made = trainer(eval_on_start=True)
        attach(made, trial)
        made.evaluate()
        made.train()
        made.evaluate()
    curve = stored(lambda database, record: curves(database, record.uuid))
    assert [each.epoch for each in curve] == [1, 2]


@pytest.mark.parametrize("kind", ["ReduceLROnPlateau", "LinearLR"])
def test_a_training_that_is_broken_off_within_an_epoch_reports_that_epoch(kind):
    """As complete, with what its trainer evaluates at the end; also where the schedule waits for losses."""

    class Impatient(TrainerCallback):
        def on_step_end(self, _args, state, control, **_kwargs):
            control.should_training_stop = state.global_step == 7

    with lrsearch.trial(study_file(f'kinds = ["{kind}"]')) as trial:
        made = trainer([Impatient()])
        attach(made, trial)
        made.train()
    curve = stored(lambda database, record: curves(database, record.uuid))
    assert [each.epoch for each in curve] == [1, 2]


def test_a_schedule_that_was_built_for_longer_epochs_is_told_so():
    """A whole epoch is none that was broken off."""
    path = study_file('kinds = ["ReduceLROnPlateau"]')

    def train():
        with lrsearch.trial(path) as trial:
            made = trainer([TrialCallback(trial)])
            made.optimizer, made.lr_scheduler = trial.build(made.model, steps_per_epoch=8)
            made.train()

    with pytest.raises(SpecError, match=r"an epoch of 8 updates"):
        train()


def test_a_trial_that_diverges_ends_the_training_and_is_pruned():
    """What follows it in the block does not run."""
    reached = []
    with lrsearch.trial(study_file(), diverged_above=1e-9) as trial:
        made = trainer()
        attach(made, trial)
        made.train()
        reached.append("what follows")
    assert reached == []
    [record] = stored(trial_records)
    assert (record.state, record.diverged, record.epochs) == ("PRUNED", True, 1)


def test_a_schedule_free_optimizer_is_judged_by_its_average():
    """Its mode changes for each evaluation."""
    rates = Rates()
    with lrsearch.trial(study_file(optimizer="AdamWScheduleFree")) as trial:
        made = trainer([rates])
        attach(made, trial)
        made.train()
    assert rates.modes == ([True] * 6 + [False]) * EPOCHS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train_epochs": 7}, r"has 2 epochs.*num_train_epochs=7: .*num_train_epochs=trial\.epochs"),
        ({"max_steps": 5}, r"max_steps=5"),
        ({"eval_strategy": "no"}, r"eval_strategy='no': TrainingArguments\(eval_strategy='epoch'\)"),
        ({"eval_delay": 2}, r"eval_delay=2, so that the first epochs have none"),
        ({"auto_find_batch_size": True}, r"auto_find_batch_size=True, which changes it on the way"),
    ],
)
def test_arguments_that_do_not_fit_the_trial_are_refused(arguments, message):
    """Before anything is trained, with what helps."""
    with lrsearch.trial(study_file()) as trial:
        with pytest.raises(InputError, match=message):
            attach(trainer(**arguments), trial)
        trial.report(1, 0.5)


def test_a_trainer_that_makes_its_model_itself_is_refused():
    """It would drop the trial's optimizer, and all trials would train alike."""
    made = trainer()
    made.model_init = lambda: made.model
    with lrsearch.trial(study_file()) as trial:
        with pytest.raises(InputError, match=r"Trainer\(model=\.\.\., args=\.\.\.\) instead of model_init"):
            attach(made, trial)
        trial.report(1, 0.5)


class Endless(IterableDataset):
    """Sentences without a number."""

    def __iter__(self):
        yield from sentences(1000, 0)


def test_data_without_a_length_are_refused():
    """As its schedule must know how many updates an epoch has."""
    made = trainer(data=Endless(), max_steps=5)
    with pytest.raises(InputError, match=r"the training data has no length"):
        updates_per_epoch(made)


def test_a_loss_that_is_not_there_is_told_with_those_that_are():
    """And costs no trial: the call without the mistake trains it."""
    with pytest.raises(InputError, match=r"gives no 'eval_nothing', but .*'eval_loss'"):
        optimize(trainer, trials=1, monitor="eval_nothing", name="s")
    assert stored(trial_records, "s")[0].state == "RUNNING"
    assert optimize(trainer, trials=1, name="s").trial == 0


def test_a_search_in_one_call_returns_the_best_trial_ready_to_be_built():
    """Its epochs are those of the arguments; it is stored, and goes on under its name."""
    result = optimize(trainer, trials=4, name="words")
    assert (len(result.trials), result.spec.epochs) == (4, EPOCHS)
    assert result.value == min(each.value for each in result.records if each.state == "COMPLETE")
    optimizer, scheduler = result.build(trainer().model)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert scheduler.schedule.total_steps == 6 * EPOCHS
    assert len(optimize(trainer, trials=5, name="words").trials) == 5


def test_the_memory_of_a_trainer_is_free_when_the_next_is_made():
    """Also that of the first, which is made to read its arguments."""
    alive, models = [], []

    def counted():
        alive.append(sum(each() is not None for each in models))
        made = trainer()
        models.append(weakref.ref(made.model))
        return made

    gc.disable()  # so that nothing is free by chance
    try:
        optimize(counted, trials=2)
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


def loss_of_epoch():
    """Return the callback that the page about transformers gives to whoever trains a winner."""
    page = Path(__file__).parents[2] / "docs" / "transformers.md"
    [script] = [each.text for each in blocks_of(page) if each.file == "transformers_winner.py"]
    names = {"TrainerCallback": TrainerCallback}
    exec(script[script.index("class LossOfEpoch") : script.index("plain =")], names)
    return names["LossOfEpoch"]()


def test_the_callback_of_the_page_tells_a_winners_schedule_each_epochs_loss():
    """Once, and not those of evaluations before and after the training."""
    result = optimize(trainer, trials=1, kinds=["ReduceLROnPlateau"])
    rates = Rates()
    made = trainer([rates, loss_of_epoch()], eval_on_start=True)
    made.optimizer, made.lr_scheduler = result.build(made.model, epochs=EPOCHS, steps_per_epoch=6)
    made.train()
    made.evaluate()
    assert len(rates.losses) == EPOCHS + 2
    assert made.lr_scheduler.state_dict()["valid_losses"] == rates.losses[1:-1]


def optimizer_of(result):
    """Return the parameters of the optimizer that a search has trained with."""
    optimizer, _ = result.build(trainer().model)
    [group] = optimizer.param_groups
    return {name: group[name] for name in ("weight_decay", "betas", "eps")}


@pytest.mark.parametrize(
    "given",
    [{}, {"weight_decay": 0.3, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6}],
)
def test_the_usual_optimizer_has_the_parameters_of_the_arguments(given):
    """Those that the Trainer's own would have, though all parameters decay alike."""
    own = trainer(**given).create_optimizer().param_groups[0]
    found = optimizer_of(optimize(lambda: trainer(**given), trials=1))
    assert found == {name: own[name] for name in found}


def test_an_optimizer_that_is_given_has_its_own_parameters():
    """As everywhere; those of the arguments belong to the usual one."""
    result = optimize(lambda: trainer(weight_decay=0.3), trials=1, optimizer="AdamW")
    assert optimizer_of(result)["weight_decay"] == 0.01


def test_a_trained_model_is_not_trained_on():
    """Each trial begins with new weights, or its loss would be the work of all before it."""
    made = trainer()
    with pytest.raises(InputError, match=r"each trial begins with new weights, but trainer"):
        optimize(lambda: made, trials=3, name="same")
    assert [each.state for each in stored(trial_records, "same")] == ["COMPLETE", "RUNNING"]


def test_a_trainer_in_the_place_of_what_makes_one_is_refused():
    """Also a function that returns something else."""
    for wrong in (trainer(), lambda: "no trainer"):
        with pytest.raises(InputError, match=r"a function that returns Trainer\(model=\.\.\., args=\.\.\.\)"):
            optimize(wrong, trials=1)


def test_processes_that_train_together_are_refused_by_a_search(monkeypatch):
    """Each would have a search of its own; how they share trials is told."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"in one process, but 2 would train together. Let torchrun"):
        train_trials(print, "search", trials=1, epochs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_steps": 5}, r"max_steps=5: TrainingArguments\(num_train_epochs=\.\.\.\)"),
        ({"eval_strategy": "no"}, r"eval_strategy='no'"),
        ({"eval_delay": 2}, r"eval_delay=2"),
        ({"auto_find_batch_size": True}, r"auto_find_batch_size=True"),
    ],
)
def test_a_trainer_that_a_search_cannot_use_is_refused_before_there_is_a_study(arguments, message, storage):
    """So that it costs no trial."""
    with pytest.raises(InputError, match=message):
        optimize(lambda: trainer(**arguments), trials=1)
    assert not Path(storage.removeprefix("sqlite:///")).exists()


def test_a_trainer_that_makes_its_model_itself_is_refused_before_there_is_a_study(storage):
    """As it would drop each trial's optimizer."""

    def made():
        plain = trainer()
        return Trainer(
            model_init=lambda: plain.model,
            args=plain.args,
            train_dataset=plain.train_dataset,
            eval_dataset=plain.eval_dataset,
        )

    with pytest.raises(InputError, match=r"instead of model_init"):
        optimize(made, trials=1)
    assert not Path(storage.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 3}, r"num_train_epochs of the trainer's arguments says .* leave epochs=3 out"),
        ({"n_trials": 5}, r"argument of lrsearch\.transformers\.optimize: 'n_trials'. Did you mean 'trials'"),
        ({"lr": 0.1}, r"'lr'"),
        ({"metrics": "eval_runtime"}, r"metrics=\('eval_runtime',\), but got 'eval_runtime'"),
        ({"metrics": ("epoch",)}, r"what every report has, but got 'epoch'"),
        ({"kinds": "OneCycleLR"}, r"kinds=\['OneCycleLR'\]"),
        ({"optimizer": "LBFGS"}, r"LBFGS computes a batch's loss several times"),
        ({"optimizer": {"name": "LBFGS"}}, r"take another optimizer, such as AdamW"),
    ],
)
def test_what_a_search_cannot_use_is_refused_before_a_trainer_is_made(arguments, message):
    """In the names that the caller has written."""
    with pytest.raises(InputError, match=message):
        optimize(lambda: pytest.fail("made"), **arguments)


def test_an_optimizer_that_no_trainer_can_step_is_refused_in_a_program_too():
    """Where the study file names it."""
    with lrsearch.trial(study_file(optimizer="LBFGS")) as trial:
        with pytest.raises(InputError, match=r"LBFGS computes a batch's loss several times"):
            attach(trainer(), trial)
        trial.report(1, 0.5)


def test_a_share_of_an_epoch_is_no_length_of_a_trial():
    """Its pruner counts whole ones."""
    with pytest.raises(InputError, match=r"whole number of epochs, but got 1\.5"):
        optimize(lambda: trainer(num_train_epochs=1.5), trials=1)


def test_all_trials_of_a_search_begin_with_the_same_weights():
    """Learning rates are compared, and not luck."""
    weights = []

    def noted():
        made = trainer()
        weights.append(next(made.model.parameters()).detach().clone())
        return made

    optimize(noted, trials=2)
    assert len(weights) == 3  # one to read the arguments
    assert all(torch.equal(each, weights[0]) for each in weights)


def first_batches(trials, seed, **arguments):
    """Return the words of each trial's first batch."""
    batches = []

    class Noting(Trainer):
        def training_step(self, model, inputs, *others):
            if self.state.global_step == 0:
                batches.append(inputs["input_ids"].tolist())
            return super().training_step(model, inputs, *others)

    def noting():
        plain = trainer(**arguments)
        data = {"train_dataset": plain.train_dataset, "eval_dataset": plain.eval_dataset}
        return Noting(plain.model, plain.args, **data)

    optimize(noting, trials=trials, seed=seed, pruner="none")
    return batches


def test_the_seed_of_a_search_decides_the_order_of_batches():
    """It is that of all its trials; of another seed it is another, though the arguments have the same."""
    batches = first_batches(2, seed=0)
    assert len(batches) == 2
    assert batches[0] == batches[1]
    assert first_batches(1, seed=1)[0] != batches[0]


def test_a_seed_of_the_data_alone_decides_their_order():
    """Whoever gives one wants it."""
    assert first_batches(1, seed=0, data_seed=5) == first_batches(1, seed=1, data_seed=5)


@pytest.mark.parametrize("package", ["transformers", "accelerate"])
def test_without_its_libraries_the_command_that_installs_them_is_told(package, monkeypatch):
    """Where the adapter is imported."""
    monkeypatch.delitem(sys.modules, "lrsearch.transformers")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'lrsearch\[transformers\]'"):
        importlib.import_module("lrsearch.transformers")
