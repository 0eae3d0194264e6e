"""Confirmations and audits of real searches on the digits: what is trained, stored, and gone on with."""

import hashlib
import json
import os
import signal
import sys
from dataclasses import replace

import pytest
import torch

import lrsearch
from lrsearch.errors import SpecError
from lrsearch.retrainings import Retraining, Run
from lrsearch.review.verdict import verdict
from lrsearch.schedules import Hyperparameters
from lrsearch.search import baselines
from lrsearch.service import retraining_crew
from lrsearch.service.audit import audit
from lrsearch.service.confirmation import ConfirmationPlan, confirm, fresh_seeds, ranked_trials
from lrsearch.service.optimize import load_onto_device, prepare
from lrsearch.service.retraining import Workshop
from lrsearch.service.studies import open_study, resolved, stored_spec
from lrsearch.service.tuning import Tuning
from lrsearch.service.tuning import tuned as tuned_rate
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database
from lrsearch.storage.range_tests import list_range_tests
from lrsearch.storage.retrainings import key_of, latest_audit, latest_confirmation
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records
from lrsearch.tasks.catalogue import load_task

PLAN = ConfirmationPlan(top=2, seeds=4)
EPOCHS = 3


@pytest.fixture
def database(created_sqlite_url):
    """An open SQLite database with tables."""
    with open_database(created_sqlite_url) as opened:
        yield opened


def searched(database, task, name="s", trials=6, workers=1, **changes):
    """Run a search of the digits, and return where its runs are trained."""
    content = {
        "name": name,
        "task": "digits-mlp",
        "trials": trials,
        "epochs": EPOCHS,
        "sampler": "random",
        "pruner": "none",
        "first_trials": False,
        "space": {"lr": {"low": 0.01, "high": 0.5, "log": True}, "kinds": ["constant", "LinearLR"]},
        "run": {"workers": workers, "device": "cpu"},
    }
    spec = resolved(spec_from({**content, **changes}, "test"))
    data = load_onto_device(spec, task)
    search = prepare(database, spec, task, data, lambda: open_study(database, spec))
    list(search.run())
    record = find_study(database, name)
    return Workshop(
        database, record.uuid, stored_spec(record, {"run.workers": workers, "run.device": "cpu"}), task, data
    )


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Scikit-learn's digits with a small perceptron."""
    return load_task("digits-mlp", tmp_path_factory.mktemp("data"))


def test_a_confirmation_trains_the_best_trials_and_three_baselines_on_fresh_seeds(database, task):
    """Each on each seed, with the test split read at the end; and stores all of it."""
    workshop = searched(database, task)
    progress = list(confirm(workshop, PLAN))
    found = latest_confirmation(database, workshop.study_uuid)
    ranked = sorted(trial_records(database, find_study(database, "s")), key=lambda each: each.value)
    assert [each.trial for each in found.candidates] == [ranked[0].number, ranked[1].number, None, None, None]
    assert [each.search_value for each in found.candidates[:2]] == [ranked[0].value, ranked[1].value]
    recipe, decay, cycle = (each.name for each in found.candidates[2:])
    assert recipe == "the tutorial's recipe"
    assert decay.startswith("linear decay from a tuned ")
    assert cycle.startswith("one cycle up to the range test's ")
    assert found.seeds == (1, 2, 3, 4)
    assert all(len(runs) == 4 and all(run.test for run in runs) for runs in found.runs.values())
    assert [(each.stage, each.epochs) for each in progress][-1] == ("5 candidates on 4 seeds", 20 * EPOCHS)
    assert progress[-1].of == 20 * EPOCHS
    assert verdict(found).winner is not None


def tuned(database, workshop, plan):
    """Confirm, and return how many epochs linear decay was tuned with, and the note on it."""
    progress = [each for each in confirm(workshop, plan) if each.stage.startswith("tuning linear decay")]
    note = latest_confirmation(database, workshop.study_uuid).notes[0]
    return sum(each.of for each in progress if each.epochs == each.of), note


def test_the_baseline_is_tuned_as_long_as_a_schedule_kind_was_searched(database, task):
    """Sixteen trials of three epochs over two kinds are 24 epochs: eight runs, under the study's seed."""
    epochs, note = tuned(database, searched(database, task, trials=16), PLAN)
    assert epochs == 8 * EPOCHS
    assert note.startswith("linear decay was tuned with 8 runs of 3 epochs (as much as one schedule kind got")


@pytest.mark.slow
def test_a_baseline_is_tuned_with_six_runs_however_short_the_search_was(database, task):
    """Three rates over the whole range, and three around the best: with fewer it would be no baseline."""
    epochs, note = tuned(database, searched(database, task), PLAN)
    assert epochs == 6 * EPOCHS
    assert "but at least 6 runs" in note


@pytest.mark.slow
def test_beside_rivals_the_baseline_is_tuned_as_long_as_they_are(database, task):
    """As many epochs as the whole search had: else the comparison would say which was tuned longer."""
    epochs, note = tuned(database, searched(database, task, trials=8), replace(PLAN, rivals=True))
    assert epochs == 8 * EPOCHS
    assert note.startswith("linear decay was tuned with 8 runs of 3 epochs (as much as the whole search")


def test_first_trials_are_known_for_what_they_are(database, task):
    """Whoever wins, the reader learns whether a sampler has found it."""
    workshop = searched(database, task, trials=4, first_trials=True)
    list(confirm(workshop, replace(PLAN, top=4)))
    candidates = latest_confirmation(database, workshop.study_uuid).candidates
    assert {each.name: each.recipe for each in candidates if each.trial is not None} == {
        "trial 0": "linear decay",
        "trial 1": None,
        "trial 2": None,
        "trial 3": None,
    }


@pytest.mark.parametrize("seeded", [True, False])
def test_a_model_that_seeds_itself_is_noticed(database, seeded):
    """Its fresh seeds differ in the order of batches alone."""

    def network():
        if seeded:
            torch.manual_seed(0)
        return torch.nn.Linear(2, 1)

    x = torch.linspace(-1, 1, 64).reshape(32, 2)
    rows = (x, x.sum(dim=1, keepdim=True))
    own = lrsearch.Task.from_tensors(network, train=rows, valid=rows, loss=torch.nn.functional.mse_loss)
    workshop = searched(database, own, name="own")
    list(confirm(workshop, PLAN))
    assert latest_confirmation(database, workshop.study_uuid).same_weights is seeded


def test_the_same_confirmation_again_trains_nothing(database, task):
    """And a larger one trains what is missing alone."""
    workshop = searched(database, task)
    list(confirm(workshop, PLAN))
    first = latest_confirmation(database, workshop.study_uuid)
    assert list(confirm(workshop, PLAN)) == []
    assert latest_confirmation(database, workshop.study_uuid).runs == first.runs
    more = list(confirm(workshop, replace(PLAN, seeds=5)))
    assert more[-1].of == 5 * EPOCHS


def test_rivals_are_tuned_as_long_as_the_whole_search_and_trained_on_the_same_seeds(database, task):
    """Six trials of three epochs are six runs for each; without a schedule, by optimizers of their own."""
    workshop = searched(database, task)
    progress = list(confirm(workshop, replace(PLAN, rivals=True)))
    found = latest_confirmation(database, workshop.study_uuid)
    sgd, adamw = found.candidates[-2:]
    assert [each.optimizer for each in (sgd, adamw)] == ["SGDScheduleFree", "AdamWScheduleFree"]
    assert sgd.name.startswith("schedule-free SGD at a tuned ")
    assert adamw.point["kind"] == "constant"
    tuning = {each.stage: each.of for each in progress if each.stage.endswith("a rival")}
    assert tuning == {
        f"tuning schedule-free {name}, a rival": 3 * EPOCHS for name in ("SGD", "AdamW")
    }  # in two halves
    assert found.notes[1].startswith("schedule-free SGD was tuned with 6 runs of 3 epochs")
    for rival in (sgd, adamw):
        assert [run.seed for run in found.runs[rival.name]] == [1, 2, 3, 4]
        assert all(run.test and run.value < 2.0 for run in found.runs[rival.name])
    assert not verdict(found).winner.candidate.is_rival
    assert list(confirm(workshop, replace(PLAN, rivals=True))) == []


@pytest.mark.slow
def test_a_rival_keeps_the_weight_decay_of_its_family_alone(database, task):
    """Of SGD's study the one of SGD, as the number means something else to AdamW."""
    optimizer = {"name": "SGD", "weight_decay": 1e-3, "momentum": 0.9}
    workshop = searched(database, task, optimizer=optimizer)
    list(confirm(workshop, replace(PLAN, rivals=True)))
    sgd, adamw = latest_confirmation(database, workshop.study_uuid).candidates[-2:]
    assert (sgd.point["weight_decay"], adamw.point["weight_decay"]) == (1e-3, 0.0)


@pytest.mark.slow
def test_a_study_of_a_schedule_free_optimizer_is_confirmed_like_another(database, task):
    """It searches its rate and warm-up alone, and has the other one as its rival."""
    workshop = searched(database, task, optimizer={"name": "SGDScheduleFree"}, space={})
    assert workshop.spec.space.kinds == ["constant"]
    list(confirm(workshop, replace(PLAN, rivals=True)))
    found = latest_confirmation(database, workshop.study_uuid)
    assert [each.optimizer for each in found.candidates if each.is_rival] == ["AdamWScheduleFree"]
    assert "schedulefree's default lr 1, constant" in found.runs


def test_a_rival_that_cannot_train_the_model_is_left_out_with_the_reason(database):
    """Before anything is trained with it: AdamW has no update for sparse gradients."""
    ids = torch.arange(32).reshape(32, 1)
    own = lrsearch.Task.from_tensors(
        lambda: torch.nn.Sequential(torch.nn.Embedding(32, 4, sparse=True), torch.nn.Flatten()),
        train=(ids, torch.zeros(32, 4)),
        valid=(ids, torch.zeros(32, 4)),
        loss=torch.nn.functional.mse_loss,
    )
    workshop = searched(database, own, name="own", optimizer={"name": "SGD"})
    list(confirm(workshop, replace(PLAN, rivals=True)))
    found = latest_confirmation(database, workshop.study_uuid)
    assert "AdamWScheduleFree" not in [each.optimizer for each in found.candidates]
    [note] = [note for note in found.notes if note.startswith("schedule-free AdamW")]
    assert note.startswith("schedule-free AdamW is left out, as it cannot train this model: TaskError: ")


def test_what_diverges_at_every_rate_is_known_to():
    """Instead of a tuned rate that none of its runs has found."""

    class Lost:
        spec = resolved(spec_from({"name": "s", "task": "digits-mlp", "trials": 4}, "test"))

        def train(self, runs, stage, stop_requested):  # noqa: ARG002 # as a workshop's
            yield from ()

        def stored(self, runs):
            return [Retraining(run.point, run.seed, run.epochs, (9.0,), diverged=True) for run in runs]

    tuning = Tuning("linear decay", lambda lr: baselines.linear_decay(Lost.spec, lr))
    steps = tuned_rate(Lost(), tuning, 6, lambda: False)
    with pytest.raises(StopIteration) as ended:
        next(steps)
    assert ended.value.value.lost
    assert ended.value.value.runs == 6


def test_rivals_that_are_not_installed_are_refused_before_anything_is_trained(database, task, monkeypatch):
    """With the command that installs them."""
    workshop = searched(database, task)
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(SpecError, match=r"pip install 'lrsearch\[schedulefree\]'"):
        next(confirm(workshop, replace(PLAN, rivals=True)))


def test_runs_of_the_studys_own_optimizer_are_found_under_the_keys_that_they_had():
    """Whatever is stored was stored before runs could name an optimizer."""
    content = {"point": {"lr": 0.1}, "seed": 3, "epochs": 2, "test": True}
    old = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert key_of(Run({"lr": 0.1}, 3, 2, test=True)) == old
    assert key_of(Run({"lr": 0.1}, 3, 2, test=True, optimizer="SGDScheduleFree")) != old


@pytest.mark.slow
def test_a_confirmation_that_is_stopped_goes_on_where_it_was(database, task):
    """What had ended is kept; nothing is confirmed before all of it is there."""
    workshop = searched(database, task, run={"workers": 1, "device": "cpu", "lanes": 2})
    workshop = replace(workshop, spec=workshop.spec.replace(run={"workers": 1, "device": "cpu", "lanes": 2}))
    asked = []

    def stop_requested():
        asked.append(len(asked))
        return len(asked) > 12

    before = list(confirm(workshop, PLAN, stop_requested))
    assert latest_confirmation(database, workshop.study_uuid) is None
    after = list(confirm(workshop, PLAN))
    assert latest_confirmation(database, workshop.study_uuid) is not None
    whole = 6 * EPOCHS + 20 * EPOCHS
    assert before[-1].of > 0
    assert sum(each.of for each in after if each.epochs == each.of) < whole


@pytest.mark.slow
def test_two_processes_find_what_one_finds(database, task):
    """The runs of each depend on nothing but themselves."""
    alone = searched(database, task)
    list(confirm(alone, PLAN))
    together = searched(database, task, name="t")
    spec = together.spec.replace(run={"workers": 2, "device": "cpu"})
    list(confirm(replace(together, spec=spec), PLAN))
    one, two = (latest_confirmation(database, each.study_uuid) for each in (alone, together))
    assert one.candidates == two.candidates
    for name, runs in one.runs.items():
        expected = [run.value for run in runs]
        assert [run.value for run in two.runs[name]] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_process_that_dies_leaves_its_share_to_the_first(database, task, monkeypatch):
    """And nothing is missing in the end."""
    workshop = searched(database, task)
    workshop = replace(workshop, spec=workshop.spec.replace(run={"workers": 2, "device": "cpu"}))
    begin = retraining_crew.Crew.__enter__

    def kill(crew):
        begin(crew)
        for process in crew._processes:
            os.kill(process.pid, signal.SIGKILL)
        return crew

    monkeypatch.setattr(retraining_crew.Crew, "__enter__", kill)
    runs = [Run(Hyperparameters(0.1).to_point(), seed, 2) for seed in range(8)]
    progress = list(workshop.train(runs, "test"))
    assert progress[-1].epochs == 16
    assert workshop.missing(runs) == []


def test_runs_of_another_length_say_nothing_of_the_searchs_luck(database, task):
    """And are not what the study is judged by."""
    workshop = searched(database, task)
    list(confirm(workshop, replace(PLAN, epochs=2)))
    found = latest_confirmation(database, workshop.study_uuid)
    assert found.epochs == 2
    assert {len(run.valid_losses) for runs in found.runs.values() for run in runs} == {2}
    assert verdict(found).optimism is None
    assert latest_confirmation(database, workshop.study_uuid, EPOCHS) is None


def test_a_run_that_failed_is_tried_again_by_the_next_command(database, task, monkeypatch):
    """What made it fail may have passed: a full disk, too many files."""
    workshop = searched(database, task)
    runs = [Run(Hyperparameters(0.1).to_point(), seed, 1) for seed in range(2)]
    with monkeypatch.context() as broken:
        broken.setattr("lrsearch.training.fused.array.FusedArray._train_epoch", _no_space)
        list(workshop.train(runs, "test"))
    assert {each.reason for each in workshop.stored(runs)} == {"OSError: no space left"}
    assert workshop.missing(runs) == []
    list(workshop.train(runs, "test"))
    assert {each.reason for each in workshop.stored(runs)} == {None}


def _no_space(*_arguments):
    raise OSError("no space left")


@pytest.mark.slow
def test_one_cycle_does_not_take_a_range_test_of_other_settings(database, task):
    """Another batch size makes other losses."""
    momentum = {"momentum": {"low": 0.0, "high": 0.9}}
    list(confirm(searched(database, task, trials=2, optimizer=momentum), PLAN))
    assert len(list_range_tests(database, "digits-mlp")) == 1
    list(confirm(searched(database, task, name="t", trials=2, optimizer=momentum), PLAN))
    assert len(list_range_tests(database, "digits-mlp")) == 1
    list(confirm(searched(database, task, name="u", trials=2, batch_size=64), PLAN))
    assert len(list_range_tests(database, "digits-mlp")) == 2


def test_fresh_seeds_are_not_the_searchs(database, task):
    """They follow it, and wrap around at the largest."""
    spec = searched(database, task).spec
    assert fresh_seeds(spec, 3) == [1, 2, 3]
    assert fresh_seeds(spec.replace(seed=2**32 - 2), 3) == [2**32 - 1, 0, 1]


def test_a_repeated_trial_is_confirmed_once(database, task):
    """Trials with the same learning rates are one candidate."""
    space = {"lr": [0.1, 0.2], "kinds": ["constant"], "warmup_fraction": 0.0}
    workshop = searched(database, task, trials=6, space=space)
    assert len(ranked_trials(workshop)) == 2


def test_a_trial_that_is_a_baseline_takes_part_as_that(database, task):
    """A study's first trial may be the tutorial's recipe: it is trained and compared once."""
    space = {"kinds": ["ReduceLROnPlateau", "LinearLR"], "warmup_fraction": {"low": 0.0, "high": 0.2}}
    knobs = {"ReduceLROnPlateau": {"factor": 0.1, "patience": 0}}
    workshop = searched(database, task, trials=3, first_trials=True, space={**space, **knobs})
    list(confirm(workshop, ConfirmationPlan(top=3, seeds=4)))
    found = latest_confirmation(database, workshop.study_uuid).candidates
    assert len({str(each.point) for each in found}) == len(found)
    assert "the tutorial's recipe" in {each.name for each in found}
    assert 0 not in {each.trial for each in found}


def test_one_cycle_is_trained_as_its_range_test_was(database, task):
    """Its rate was found with these values of the optimizer."""
    momentum = {"momentum": {"low": 0.0, "high": 0.9}}
    workshop = searched(database, task, trials=2, optimizer=momentum)
    list(confirm(workshop, PLAN))
    cycle = latest_confirmation(database, workshop.study_uuid).candidates[-1]
    assert cycle.point["kind"] == "OneCycleLR"
    assert cycle.point["momentum"] == 0.45


def test_a_study_without_a_complete_trial_has_nothing_to_confirm(database, task):
    """All diverged."""
    workshop = searched(database, task, trials=2, space={"lr": 1e6, "kinds": ["constant"]})
    with pytest.raises(SpecError, match="no complete trial yet"):
        list(confirm(workshop, PLAN))


@pytest.mark.slow
def test_an_optimizer_without_the_tutorials_recipe_has_its_own_default(database, task):
    """Adam at PyTorch's 0.001."""
    workshop = searched(
        database, task, optimizer={"name": "Adam"}, space={"lr": [1e-3, 1e-2], "kinds": ["LinearLR"]}
    )
    list(confirm(workshop, PLAN))
    names = [each.name for each in latest_confirmation(database, workshop.study_uuid).candidates]
    assert "PyTorch's default lr 0.001, constant" in names


@pytest.mark.parametrize(("name", "value"), [("top", "5"), ("top", 2.5), ("seeds", None), ("epochs", 2.0)])
def test_a_plan_takes_whole_numbers(name, value):
    """Others would train runs that no other call finds again."""
    with pytest.raises(SpecError, match=f"{name} of a confirmation must be a whole number"):
        ConfirmationPlan(**{name: value})


@pytest.mark.parametrize(("name", "value", "least"), [("top", 0, 1), ("seeds", 3, 4), ("epochs", 0, 1)])
def test_a_plan_that_shows_nothing_is_refused(name, value, least):
    """With the smallest number that does."""
    with pytest.raises(SpecError, match=f"{name} .* at least {least}, but got {value}"):
        ConfirmationPlan(**{name: value})


def test_an_audit_trains_stopped_trials_to_their_end(database, task):
    """Under the study's seed: the first epochs are those that the search has seen."""
    workshop = searched(database, task, trials=16, pruner="asha", epochs=4)
    list(audit(workshop, 3))
    found = latest_audit(database, workshop.study_uuid)
    records = {each.number: each for each in trial_records(database, find_study(database, "s"))}
    stopped = [number for number, each in records.items() if each.state == "PRUNED" and not each.diverged]
    assert found.stopped == tuple(stopped)
    assert len(found.runs) == 3
    for number, run in found.runs.items():
        assert len(run.valid_losses) == 4
        assert run.valid_losses[records[number].epochs - 1] == pytest.approx(records[number].value, rel=1e-3)


def test_a_larger_audit_holds_the_smaller_one(database, task):
    """So that nothing is trained twice."""
    workshop = searched(database, task, trials=16, pruner="asha", epochs=4)
    list(audit(workshop, 2))
    small = latest_audit(database, workshop.study_uuid)
    (*_rest, last) = audit(workshop, 4)
    large = latest_audit(database, workshop.study_uuid)
    assert small.runs.items() <= large.runs.items()
    assert last.of == 2 * 4


def test_without_a_stopped_trial_there_is_nothing_to_audit(database, task):
    """Nor with an empty sample."""
    workshop = searched(database, task, trials=2)
    with pytest.raises(SpecError, match="stopped no trial"):
        list(audit(workshop, 3))
    with pytest.raises(SpecError, match="sample of an audit must be at least 1, but got 0"):
        list(audit(workshop, 0))
