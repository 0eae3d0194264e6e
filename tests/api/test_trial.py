"""``lrsearch.trial``: one trial inside a script of the user's, alone or on several ranks."""

import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lrsearch
from lrsearch.api.connections import DatabaseConnection, RankConnection
from lrsearch.api.trial import Trial, TrialPruned, trial
from lrsearch.errors import (
    BudgetSpentError,
    DatabaseLostError,
    InputError,
    StudyConflictError,
    UnknownNameError,
)
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.service.trial_files import Assignment
from lrsearch.storage.database import open_database
from lrsearch.storage.epochs import curves
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records

EPOCHS = 4


@pytest.fixture
def study(tmp_path, created_sqlite_url, monkeypatch):
    """Return a function that writes a study file: two random trials of four epochs, unless told."""
    monkeypatch.setenv("LRSEARCH_STORAGE", created_sqlite_url)

    def write(space="warmup_fraction = 0.0", optimizer="", **keys):
        content = {"task": "external", "trials": 2, "epochs": EPOCHS, "sampler": "random", "pruner": "none"}
        lines = [
            f"{key} = {_toml(value)}" for key, value in {**content, "first_trials": False, **keys}.items()
        ]
        file = tmp_path / "s.toml"
        file.write_text("\n".join([*lines, "[optimizer]", optimizer, "[space]", space]) + "\n")
        return file

    return write


def _toml(value):
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


@pytest.fixture
def records(created_sqlite_url):
    """Return a function that returns the study's trials as they are shown."""

    def read():
        with open_database(created_sqlite_url) as database:
            return trial_records(database, find_study(database, "s"))

    return read


@pytest.fixture
def epochs(created_sqlite_url):
    """Return a function that returns the study's epochs."""

    def read():
        with open_database(created_sqlite_url) as database:
            return curves(database, find_study(database, "s").uuid)

    return read


def test_a_block_is_a_trial(study, records, epochs):
    """It has the study, its number, its length and a point; its last loss becomes the trial's value."""
    with lrsearch.trial(study()) as t:
        assert (t.study, t.number, t.epochs) == ("s", 0, EPOCHS)
        for epoch in range(1, t.epochs + 1):
            t.report(epoch, torch.tensor(1 / epoch), accuracy=np.float32(0.5), train_loss=2.0)
    [record] = records()
    assert (record.state, record.value, record.epochs) == ("COMPLETE", 1 / EPOCHS, EPOCHS)
    assert record.params["lr"] == t.hyperparameters.lr
    assert record.params["kind"] == t.hyperparameters.kind
    assert [epoch.valid_loss for epoch in epochs()] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert {(epoch.train_loss, epoch.metrics["accuracy"]) for epoch in epochs()} == {(2.0, 0.5)}


def test_a_loop_over_trials_ends_clearly(study, records):
    """When the budget is used up, the next trial says so, and how to extend the study."""
    file, begun = study(trials=3), []

    def train():
        while True:
            with trial(file) as t:
                begun.append(t.number)
                t.report(1, 0.5)

    with pytest.raises(BudgetSpentError, match=r"lrsearch extend s --trials \+10"):
        train()
    assert begun == [0, 1, 2]
    assert [record.state for record in records()] == ["COMPLETE"] * 3


def test_a_pruned_block_ends_silently(study, records):
    """TrialPruned leaves the block and goes no further; the trial is PRUNED at that epoch."""
    file, after = study(trials=5, pruner="asha"), []
    for loss in (1.0, 1.0, 1.0, 1.0, 2.0):
        with trial(file) as t:
            for epoch in range(1, t.epochs + 1):
                t.report(epoch, loss)
            after.append(t.number)
    assert after == [0, 1, 2, 3]
    assert [(record.state, record.epochs) for record in records()][4] == ("PRUNED", 1)


def test_a_script_that_swallows_the_pruning_is_pruned_all_the_same(study, records):
    """Every further report raises again, and the trial stays PRUNED."""
    with trial(study(trials=1)) as t:
        with pytest.raises(TrialPruned, match="trial 0 diverged at epoch 1"):
            t.report(1, math.inf)
        with pytest.raises(TrialPruned, match="trial 0 diverged at epoch 1"):
            t.report(2, 0.5)
    [record] = records()
    assert (record.state, record.diverged, record.epochs) == ("PRUNED", True, 1)


@pytest.mark.parametrize("where", ["trial", "report"])
def test_a_bound_says_what_diverges(study, records, where):
    """Given to the trial or to a report, which goes first."""
    with trial(study(trials=1), diverged_above=10.0 if where == "trial" else 1.0) as t:
        t.report(1, 9.0, diverged_above=10.0)
        t.report(2, 11.0, **({} if where == "trial" else {"diverged_above": 10.0}))
    [record] = records()
    assert (record.diverged, record.value, record.epochs) == (True, math.inf, 2)


def test_a_script_may_prune_its_own_trial(study, records):
    """By raising TrialPruned itself."""
    with trial(study(trials=1)) as t:
        t.report(1, 0.5)
        raise TrialPruned
    [record] = records()
    assert (record.state, record.value, record.epochs) == ("PRUNED", 0.5, 1)


def test_an_exception_fails_the_trial_and_goes_on(study, records):
    """With its type and first line as the reason."""
    with pytest.raises(ZeroDivisionError), trial(study(trials=1)) as t:
        t.report(1, 1 / 0)
    [record] = records()
    assert (record.state, record.reason) == ("FAIL", "ZeroDivisionError: division by zero")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_block_gives_its_trial_back(study, records, error):
    """The next block begins the same trial anew, with the same point."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    file = study(trials=1)
    with pytest.raises(error), trial(file) as first:
        sys.exit() if error is SystemExit else signal.raise_signal(signal.SIGINT)
    with trial(study(trials=1)) as again:
        again.report(1, 0.25)
    assert (again.number, again.hyperparameters) == (first.number, first.hyperparameters)
    assert [(record.state, record.value) for record in records()] == [("COMPLETE", 0.25)]


def exit_after_ctrl_c():
    """Leave as some libraries do when they meet a Ctrl-C."""
    try:
        signal.default_int_handler(signal.SIGINT, None)
    except KeyboardInterrupt:
        sys.exit(1)


def test_an_interrupt_that_a_library_makes_an_exit_of_gives_the_trial_back(study, records):
    """Whatever the exit code: nothing has failed."""
    file = study(trials=1)
    with pytest.raises(SystemExit), trial(file):
        exit_after_ctrl_c()
    with trial(file) as again:
        again.report(1, 0.25)
    assert [record.state for record in records()] == ["COMPLETE"]


def test_a_block_left_with_an_exit_code_has_failed(study, records):
    """As the process would have: its trial is not begun again and again."""
    with pytest.raises(SystemExit), trial(study(trials=1)):
        sys.exit(3)
    assert [(record.state, record.reason) for record in records()] == [("FAIL", "exit code 3")]


def test_a_schedule_free_optimizer_must_be_judged_by_its_average(study, records):
    """The weights that it trains with have another loss; the error says which calls are missing."""
    file = study(optimizer='name = "SGDScheduleFree"')
    with trial(file) as t:
        optimizer, _scheduler = t.build(nn.Linear(2, 1), steps_per_epoch=2)
        with pytest.raises(InputError, match=r"call optimizer\.eval\(\) before validating"):
            t.report(1, 0.5)
        optimizer.eval()
        t.report(1, 0.5)
    assert [(each.state, each.value) for each in records()] == [("COMPLETE", 0.5)]


def test_a_loss_with_a_gradient_is_reported_without_a_warning(study, records):
    """The training loss itself, as the loop has it."""
    with trial(study(trials=1)) as t:
        t.report(1, torch.ones((), requires_grad=True) * 2)
    assert [record.value for record in records()] == [2.0]


def test_a_block_without_a_report_is_an_error(study, records):
    """There is no value: the trial has failed, and the script hears what to call."""
    with pytest.raises(InputError, match=r"t.report\(epoch, valid_loss\)"), trial(study(trials=1)):
        pass
    assert [record.state for record in records()] == ["FAIL"]


def test_what_is_no_figure_is_refused(study, records):
    """A report with a text, or of an epoch that was reported, fails the trial with its rule."""
    file = study()
    with pytest.raises(InputError, match="accuracy must be one number"), trial(file) as t:
        t.report(1, 0.5, accuracy="high")
    with pytest.raises(InputError, match="got epoch 1 after epoch 1"), trial(file) as t:
        [t.report(1, 0.5) for _time in range(2)]
    assert [record.state for record in records()] == ["FAIL", "FAIL"]


def test_a_lost_database_does_not_hide_the_scripts_error(study, monkeypatch):
    """The failure cannot be stored; what is raised is the script's own."""
    monkeypatch.setattr(Slots, "finish", lambda *_arguments: (_ for _ in ()).throw(DatabaseLostError()))
    with pytest.raises(ZeroDivisionError), trial(study()):
        1 / 0  # noqa: B018 # it raises


def test_leaving_a_block_leaves_no_thread(study):
    """However it is left, its lease is renewed no more."""
    file = study(trials=3)
    with trial(file) as t:
        assert "lrsearch-leases" in {thread.name for thread in threading.enumerate()}
        t.report(1, 0.5)
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), trial(file):
            raise error
    assert "lrsearch-leases" not in {thread.name for thread in threading.enumerate()}


def test_a_trial_needs_a_study(monkeypatch):
    """Only a worker's script may leave it out."""
    monkeypatch.delenv("LRSEARCH_TRIAL_FILE", raising=False)
    with pytest.raises(InputError, match="name a stored study or a study file"), trial():
        pass


# Optimizers and schedulers


@pytest.mark.parametrize(
    "kind", ["LinearLR", "CosineAnnealingLR", "StepLR", "OneCycleLR", "ReduceLROnPlateau"]
)
def test_a_built_optimizer_follows_the_trials_schedule(study, epochs, kind):
    """Every update has the learning rate of the schedule's formula; an epoch's last one is stored."""
    lrs, losses = [], [1.0, 1.0, 1.0, 0.5]
    model = nn.Linear(2, 1)
    with trial(study(space=f'kinds = ["{kind}"]', optimizer='name = "AdamW"\nbeta1 = 0.8')) as t:
        optimizer, scheduler = t.build(model, steps_per_epoch=5)
        for epoch, loss in enumerate(losses, start=1):
            for _update in range(5):
                lrs.append(optimizer.param_groups[0]["lr"])
                model(torch.ones(1, 2)).sum().backward()
                optimizer.step()
                scheduler.step()
            t.report(epoch, loss)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["betas"] == (0.8, 0.999)
    schedule = Schedule(t.hyperparameters, EPOCHS, 5)
    state, expected = schedule.start(), []
    for epoch, loss in enumerate(losses):
        expected.append(schedule.epoch_lrs(epoch, state))
        state = schedule.update(state, loss)
    assert lrs == pytest.approx(np.concatenate(expected).tolist(), rel=1e-9)
    assert [epoch.lr for epoch in epochs()] == pytest.approx([each[-1] for each in expected], rel=1e-9)


def test_the_parts_of_a_study_have_optimizers_of_their_own(study):
    """Each with its lr and schedule; a report tells both schedulers the loss."""
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    with trial(study(parts=["generator", "critic"], space='kinds = ["ReduceLROnPlateau"]')) as t:
        pairs = [
            t.build(generator, "generator", steps_per_epoch=2),
            t.build(critic.named_parameters(), name="critic", steps_per_epoch=3),
        ]
        for epoch in range(1, EPOCHS + 1):
            for (_optimizer, scheduler), updates in zip(pairs, (2, 3), strict=True):
                for _update in range(updates):
                    scheduler.optimizer.step()
                    scheduler.step()
            t.report(epoch, 1.0)
    assert list(t.parts) == ["generator", "critic"]
    for (optimizer, scheduler), (part, point), model in zip(
        pairs, t.parts.items(), (generator, critic), strict=True
    ):
        assert optimizer.param_groups[0]["params"] == list(model.parameters())
        assert scheduler.schedule == Schedule(point, EPOCHS, 2 if part == "generator" else 3)
        assert scheduler.base_lrs == [point.lr]


def compiled(model):
    """Wrap a model twice."""
    return torch.compile(nn.DataParallel(model), backend="eager")


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled])
def test_wrappers_do_not_change_the_names_of_parameters(study, wrap):
    """A pattern of the study means the model inside, as ``named_parameters()`` would name it."""
    file = study()
    file.write_text(file.read_text() + '[groups]\n"0.*" = { lr_scale = 0.5 }\n"2.*" = { frozen = true }\n')
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with trial(file) as t:
        optimizer, _scheduler = t.build(wrap(model), steps_per_epoch=5)
        t.report(1, 0.5)
    assert {group["name"]: group["lr_scale"] for group in optimizer.param_groups} == {"0.*": 0.5, "*": 1.0}
    assert not model[2].weight.requires_grad
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


@pytest.mark.parametrize(
    ("name", "parts", "error", "message"),
    [
        (None, ("a", "b"), InputError, "has the parts 'a', 'b', each with hyperparameters of its own"),
        ("c", ("a", "b"), UnknownNameError, "unknown part 'c'"),
        ("a", (), InputError, "has no parts, so leave out name = 'a'"),
    ],
)
def test_a_part_that_a_study_has_not_is_refused(name, parts, error, message):
    """With what helps; so are the hyperparameters of a study with parts."""
    points = {part: Hyperparameters(0.1) for part in parts or (None,)}
    t = Trial(DatabaseConnection("s", None), Assignment("s", 0, 4, "SGD", points))
    with pytest.raises(error, match=message):
        t.build(nn.Linear(2, 1), name, steps_per_epoch=5)
    if name is None:
        with pytest.raises(InputError, match=r"t.parts\['a'\]"):
            _ = t.hyperparameters


def test_own_schedules_are_imported_only_where_the_script_allows(study, tmp_path, monkeypatch):
    """The study names the code; the script's own words decide."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "import lrsearch\n\n@lrsearch.schedule(power=lrsearch.Range(0.5, 2.0))\n"
        "def fade(progress, power):\n    return (1 - progress) ** power\n"
    )
    file = study(space='kinds = ["mine.py:fade"]')
    with pytest.raises(InputError, match=r"--allow-task mine\.py:fade"), trial(file) as t:
        pass
    with trial(file, allow_task=["mine.py:fade"]) as t:
        _optimizer, scheduler = t.build(nn.Linear(2, 1), steps_per_epoch=5)
        scheduler.optimizer.step()
        scheduler.step()
        expected = t.hyperparameters.lr * (1 - 1 / 20) ** t.hyperparameters.knobs["power"]
        assert scheduler.get_last_lr() == pytest.approx([expected])
        t.report(1, 0.5)


# Several ranks


class Ranks:
    """Ranks that are threads: what rank 0 broadcasts, all get.

    Args:
        count: number of ranks.
    """

    def __init__(self, count):
        self._barrier, self._rank, self._sent = threading.Barrier(count, timeout=20), threading.local(), b""
        self.count = count

    def get_rank(self):
        """Return the rank of the calling thread."""
        return self._rank.value

    def broadcast_object_list(self, objects, src):
        """Give all ranks a copy of rank 0's objects."""
        assert src == 0
        if self.get_rank() == 0:
            self._sent = pickle.dumps(objects)
        self._barrier.wait()
        objects[:] = pickle.loads(self._sent)
        self._barrier.wait()

    def run(self, train):
        """Return what ``train(rank)`` returns or raises on every rank."""
        outcomes = [None] * self.count

        def rank(number):
            self._rank.value = number
            try:
                outcomes[number] = train(number)
            except Exception as error:
                outcomes[number] = error

        threads = [threading.Thread(target=rank, args=(number,)) for number in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        return outcomes


class Script:
    """A connection that raises at one of its calls, or prunes.

    Args:
        fails: name of the method that raises, or None.
    """

    def __init__(self, fails=None):
        self.fails, self.calls = fails, []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            if name == self.fails:
                raise UnknownNameError("study", "x", ["y"])
            if name == "begin":
                return Assignment("s", 0, 4, "SGD", {None: Hyperparameters(0.1)})
            if name == "report":
                loss = arguments[0]["valid_loss"]
                return loss, "was pruned" if loss > 1 else None
            return None

        return call


def script_on_ranks(connection, losses, count=3):
    """Train with losses by epoch on every rank, rank 0's being the losses and the others' greater ones."""
    ranks, unused = Ranks(count), Script()

    def train(rank):
        own = RankConnection(connection if rank == 0 else unused, ranks)
        t = Trial(own, own.begin())
        try:
            for epoch, loss in enumerate(losses, start=1):
                t.report(epoch, loss + 7 * rank)
        except TrialPruned as pruned:
            own.prune()
            return str(pruned)
        own.complete()
        return t.hyperparameters

    outcomes = ranks.run(train)
    assert unused.calls == []
    return outcomes


def test_all_ranks_train_with_rank_0s_trial():
    """They have its hyperparameters; its losses alone are reported."""
    connection = Script()
    assert script_on_ranks(connection, [0.5, 0.4]) == [Hyperparameters(0.1)] * 3
    assert connection.calls == ["begin", "report", "report", "complete"]


def test_all_ranks_are_pruned_together():
    """By rank 0's decision."""
    connection = Script()
    first, *others = script_on_ranks(connection, [0.5, 2.0, 0.5])
    assert (first, others) == ("was pruned", ["was pruned"] * 2)
    assert connection.calls == ["begin", "report", "report", "prune"]


@pytest.mark.parametrize("fails", ["begin", "report", "complete"])
def test_an_error_on_rank_0_is_raised_on_all(fails):
    """Rank 0 raises its own, the others name it: no rank waits."""
    first, *others = script_on_ranks(Script(fails), [0.5])
    assert isinstance(first, UnknownNameError)
    assert [str(error) for error in others] == [f"rank 0: UnknownNameError: {first}"] * 2


def test_a_rank_that_fails_alone_leaves_the_trial_to_rank_0():
    """Its failure is not rank 0's; rank 0 fails when its own training breaks."""
    for rank, calls in ((0, ["fail"]), (1, [])):
        connection, ranks = Script(), Ranks(1)
        ranks._rank.value = rank
        RankConnection(connection, ranks).fail("no memory")
        assert connection.calls == calls


def test_ranks_that_do_not_know_each_other_are_refused(study, monkeypatch):
    """Under torchrun each would have begun a trial of its own."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="init_process_group"), trial(study()):
        pass


DISTRIBUTED = """
import sys, torch, lrsearch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=int(sys.argv[3]), world_size=2)
torch.manual_seed(0)
seen, rank = [], dist.get_rank()
try:
    while True:
        with lrsearch.trial(sys.argv[1]) as t:
            model = DistributedDataParallel(nn.Linear(2, 1))
            optimizer, scheduler = t.build(model, steps_per_epoch=2)
            for epoch in range(1, t.epochs + 1):
                for _ in range(2):
                    optimizer.zero_grad()
                    model(torch.randn(4, 2)).square().mean().backward()
                    optimizer.step()
                    scheduler.step()
                loss = 1.0 if t.number < 4 else 2.0
                t.report(epoch, loss if rank == 0 else "only rank 0 counts")
                seen.append((t.number, epoch, optimizer.param_groups[0]["lr"]))
except lrsearch.errors.LrsearchError as error:
    print(seen, type(error).__name__, str(error).partition("all 5")[2])
"""


@pytest.mark.slow
def test_two_processes_train_one_study(study, records, tmp_path):
    """With gloo: the same trials, learning rates and decisions on both, each trial once in the study."""
    (tmp_path / "train.py").write_text(DISTRIBUTED)
    paths = {"PYTHONPATH": str(Path(lrsearch.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    options = {"cwd": tmp_path, "env": os.environ | paths, "stdout": subprocess.PIPE, "text": True}
    file = study(trials=5, pruner="asha")
    command = [sys.executable, "train.py", str(file), str(tmp_path / "meeting")]
    running = [subprocess.Popen([*command, str(rank)], **options) for rank in range(2)]
    first, second = (process.communicate(timeout=120)[0] for process in running)
    seen, _, end = first.partition("] ")
    assert second.partition("] ")[0] == seen
    assert end.startswith("BudgetSpentError  trials of study 's' have ended")
    assert second.partition("] ")[2].startswith("LrsearchError  trials of study 's' have ended")
    assert [(record.state, record.epochs) for record in records()] == [
        *[("COMPLETE", EPOCHS)] * 4,
        ("PRUNED", 1),
    ]


def test_a_schedule_that_has_changed_since_the_study_began_is_refused(study, tmp_path, monkeypatch):
    """The next block names what its code has gained and lost, whether the study is named or its file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lrsearch.schedules.kinds._registered", {})
    code = (
        "import lrsearch\n\n@lrsearch.schedule(power=lrsearch.Range(0.5, 2.0))\n"
        "def fade(progress, power):\n    return (1 - progress) ** power\n"
    )
    Path("changing.py").write_text(code)
    file = study(space='kinds = ["changing.py:fade"]', trials=3)
    with trial(file, allow_task=["changing.py:fade"]) as t:
        t.report(1, 0.5)
    Path("changing.py").write_text(code.replace("power", "end"))
    for name in ("s", file):
        message = r"changing\.py:fade has gained end and has lost power since study 's' began"
        with (
            pytest.raises(StudyConflictError, match=message),
            trial(name, allow_task=["changing.py:fade"]),
        ):
            pass


TERMINATED = """
import os, signal, sys, time, lrsearch
with lrsearch.trial(sys.argv[1]) as t:
    t.report(1, 0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def test_sigterm_says_nothing_about_a_trial(study, records):
    """A script that holds its trial itself is ended by it as by SIGKILL: its lease runs out."""
    environment = os.environ | {"PYTHONPATH": str(Path(lrsearch.__file__).parents[1])}
    script = subprocess.run([sys.executable, "-c", TERMINATED, str(study())], env=environment, check=False)
    assert script.returncode == -signal.SIGTERM
    assert [(record.state, record.value) for record in records()] == [("RUNNING", None)]
