"""``lrsearch export``: a module that tests itself, a study file, or JSON; of the winner or of a trial."""

import sys
import tomllib
from pathlib import Path

import pytest

import lrsearch as package
from lrsearch.retrainings import Candidate, Retraining, Run
from lrsearch.schedules import Hyperparameters
from lrsearch.storage.database import open_database
from lrsearch.storage.retrainings import key_of, record_confirmation, record_retrainings
from lrsearch.storage.studies import find_study
from tests.cli.commands import refused, succeed
from tests.review.exports import checked
from tests.tasks.plain import regression

OWN = """
import torch, lrsearch
x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
y = x.sum(1, keepdim=True)
task = lrsearch.Task.from_tensors(
    lambda: torch.nn.Linear(3, 1), (x[:160], y[:160]), (x[160:], y[160:]),
    loss=torch.nn.functional.mse_loss, epochs=3, clip_norm=2.0,
)
@lrsearch.schedule(power=lrsearch.Range(0.5, 2.0))
def train(progress, power):
    return (1 - progress) ** power
@lrsearch.schedule(feedback=True, factor=lrsearch.Range(0.5, 0.9))
def check(progress, losses, factor):
    return factor ** len(losses)
"""


def passes(text, tmp_path):
    """Check that the module's self-test passes."""
    assert checked(text, tmp_path)[0] == 0


def best_number(study):
    """Return the number of the best trial."""
    return succeed("best", study, "--format", "json").json[0]["number"]


def test_the_winner_is_a_module_that_passes_its_self_test(finished, tmp_path):
    """Trained once more, which is said, for its learning rates; the second time nothing is trained."""
    first = succeed("export", finished)
    number = best_number(finished)
    assert first.err == f"Training trial {number} once more to log its learning rates.\n"
    assert "Study 'fin ished': task 'digits-mlp', 5 trials of up to 2 epochs" in first.out
    assert "lrsearch confirm 'fin ished'" in first.out
    passes(first.out, tmp_path)
    second = succeed("export", finished)
    assert (second.out, second.err) == (first.out, "")


def test_any_trial_that_ended_well_can_be_exported(finished, tmp_path):
    """Each of a kind and lr of its own; one that diverged cannot."""
    trials = succeed("trials", finished, "--format", "json").json
    for trial in trials:
        if trial["diverged"]:
            assert f"trial {trial['number']} of study 'fin ished' diverged" in refused(
                "export", finished, "--trial", trial["number"]
            )
        else:
            text = succeed("export", finished, "--trial", trial["number"]).out
            assert f"# Trial {trial['number']}: SGD, lr {trial['params']['lr']:g}" in text
            passes(text, tmp_path)
    assert "unknown trial '77'" in refused("export", finished, "--trial", "77")


def test_a_file_is_written_instead(finished, tmp_path):
    """By -o; what cannot be written is refused in one line, before anything is trained."""
    outcome = succeed("export", finished, "-o", "winner.py")
    assert outcome.out == ""
    assert outcome.err.splitlines()[-1] == "Written: winner.py"
    passes(Path("winner.py").read_text(encoding="utf-8"), tmp_path)
    Path("folder").mkdir()
    for path, message in (("folder", "is a folder"), ("no/where.py", "there is no no")):
        assert message in refused("export", finished, "-o", path)


WRITES = [
    *[("export", "fin ished", "--format", form) for form in ("python", "toml", "json")],
    ("report", "fin ished"),
    ("report", "fin ished", "fin ished too"),
]


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("command", WRITES, ids=lambda command: "-".join(command[:1] + command[2:]))
def test_a_file_that_lrsearch_has_not_written_is_kept(command):
    """Such as the model itself, whose name is typed by mistake; what a command wrote before, it replaces."""
    if "fin ished too" in command:
        succeed(
            "optimize", "digits-tpe", "--name", "fin ished too", "--trials", "1", "--epochs", "1", "--quiet"
        )
    own = Path("own.py")
    own.write_text("precious")
    assert "own.py is something else and is kept; name another file" in refused(*command, "-o", "own.py")
    assert own.read_text() == "precious"
    own.write_text("")
    for _time in range(2):
        succeed(*command, "-o", "own.py")
    assert len(own.read_text()) > 400


def test_a_disk_that_is_full_is_told_in_one_line(finished):
    """As any failure to write."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    assert "cannot be written: No space left" in refused(
        "export", finished, "--format", "json", "-o", "/dev/full"
    )


def test_the_schedule_can_be_stretched(finished, tmp_path):
    """To other epochs, without a training, with a warning; the study's own numbers are no stretching."""
    outcome = succeed("export", finished, "--epochs", "30", "--steps-per-epoch", "7")
    assert outcome.err == ""
    assert "EPOCHS = 30\nSTEPS_PER_EPOCH = 7 " in outcome.out
    assert "is not proven" in outcome.out.replace("\n# ", " ")
    passes(outcome.out, tmp_path)
    longer = succeed("export", finished, "--epochs", "3").out
    assert "the study trained 2 epochs of 37 updates, this is for 3 of 37" in longer.replace("\n# ", " ")
    same = succeed("export", finished, "--epochs", "2", "--steps-per-epoch", "37").out
    assert same == succeed("export", finished).out


def test_a_study_file_of_the_winner_trains_it_again(finished):
    """With the same result; another length is written into it."""
    text = succeed("export", finished, "--format", "toml").out
    assert text.startswith("# Study 'fin ished'")
    Path("winner.toml").write_text(text)
    succeed("optimize", "winner.toml")
    [again] = succeed("best", tomllib.loads(text)["name"], "--format", "json").json
    [best] = succeed("best", finished, "--format", "json").json
    assert again["value"] == pytest.approx(best["value"], rel=1e-5)
    assert tomllib.loads(succeed("export", finished, "--format", "toml", "--epochs", "9").out)["epochs"] == 9
    assert "--format python" in refused("export", finished, "--format", "toml", "--steps-per-epoch", "9")


def test_the_same_values_come_as_json(finished):
    """For other programs."""
    values = succeed("export", finished, "--format", "json").json
    [best] = succeed("best", finished, "--format", "json").json
    assert (values["study"], values["trial"], values["value"]) == (finished, best["number"], best["value"])
    assert values["point"].items() >= best["params"].items()
    assert (values["epochs"], values["steps_per_epoch"], values["confirmed"]) == (2, 37, None)


def confirm(study, baseline_loss):
    """Store a confirmation of trial 0 and of a baseline, as if it had been made."""
    with open_database() as database:
        uuid = find_study(database, study).uuid
        plateau = Hyperparameters(0.05, "ReduceLROnPlateau", {"patience": 0}, optimizer={"momentum": 0.5})
        candidates = [
            Candidate("trial 0", Hyperparameters(0.1).to_point(), 0, 0.3),
            Candidate("the tutorial's recipe", plateau.to_point()),
        ]
        runs = {
            key_of(Run(each.point, seed, 2, test=True)): Retraining(
                each.point, seed, 2, (0.9, loss + seed / 100)
            )
            for each, loss in zip(candidates, (0.3, baseline_loss), strict=True)
            for seed in (1, 2, 3, 4)
        }
        record_retrainings(database, uuid, runs)
        record_confirmation(database, uuid, candidates, (1, 2, 3, 4), 2, ())


def test_a_confirmed_winner_is_exported_with_its_interval(finished, tmp_path):
    """Although the search liked another trial better."""
    confirm(finished, baseline_loss=0.6)
    text = succeed("export", finished).out
    assert "# Trial 0: SGD, lr 0.1, constant" in text
    assert "confirmed on 2 fresh seeds: 0.335 (" in text
    assert succeed("export", finished, "--format", "json").json["confirmed"]["runs"] == 2
    passes(text, tmp_path)


def test_a_baseline_that_won_is_exported(finished, tmp_path):
    """In all formats; its losses are those of the confirmation, where a stretched schedule reads them."""
    confirm(finished, baseline_loss=0.1)
    text = succeed("export", finished).out
    assert "# The tutorial's recipe: SGD, lr 0.05, ReduceLROnPlateau" in text
    passes(text, tmp_path)
    longer = succeed("export", finished, "--epochs", "9", "--steps-per-epoch", "4").out
    assert "The patience counts epochs" in longer
    assert "VALID_LOSSES = [\n    0.9, " in longer
    passes(longer, tmp_path)
    Path("winner.toml").write_text(succeed("export", finished, "--format", "toml").out)
    assert "1 of 1 trials" in succeed("optimize", "winner.toml").out
    assert succeed("export", finished, "--format", "json").json["trial"] is None


def test_the_best_baseline_is_had_where_it_is_asked_for(finished, tmp_path):
    """As lines, as a module, as a study file and as weights, although a trial has won."""
    assert "it is not confirmed" in refused("best", finished, "--baseline")
    confirm(finished, baseline_loss=0.6)
    assert succeed("best", finished).out.startswith("Trial 0, confirmed")
    assert "--baseline" not in succeed("best", finished).out  # it is shown to be worse
    lines = succeed("best", finished, "--baseline").out
    assert lines.startswith("The tutorial's recipe, confirmed on 2 fresh seeds: validation loss 0.635 (")
    assert "ReduceLROnPlateau(optimizer" in lines
    passes(succeed("export", finished, "--baseline").out, tmp_path)
    [row] = succeed("best", finished, "--baseline", "--format", "json").json
    assert row["name"] == "the tutorial's recipe"
    toml = succeed("best", finished, "--baseline", "--format", "toml").out
    assert toml.startswith(f"# The best baseline of study {finished}: the tutorial's recipe, validation loss")
    assert "Training the tutorial's recipe" in succeed("train", finished, "--baseline", "-o", "kept").err
    assert "leave one out" in refused("export", finished, "--baseline", "--trial", "0")


def test_a_baseline_that_is_not_shown_to_be_worse_is_named_with_its_command(finished):
    """Behind the winner's lines."""
    confirm(finished, baseline_loss=0.3)
    told = "A baseline that is not shown to be worse, the tutorial's recipe: "
    assert succeed("best", finished).out.splitlines()[-1] == f"{told}lrsearch best 'fin ished' --baseline"


def test_a_task_of_your_own_must_be_allowed(tmp_path):
    """To be trained once more; then the module is there without it. The loop clips as the task says."""
    Path("net.py").write_text(OWN)
    succeed("optimize", "--task", "net.py:task", "--trials", "2")
    assert "--allow-task net.py:task" in refused("export", "net")
    text = succeed("export", "net", "--allow-task", "net.py:task").out
    assert "clip_grad_norm_(model.parameters(), 2.0)" in text
    assert "a training of trial" in text.replace("\n# ", " ")
    passes(text, tmp_path)
    assert succeed("export", "net").out == text


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Return the name of a module of the user's, which can be imported as long as the test runs."""
    name = f"own_{tmp_path.name}"
    Path(f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(("kind", "warmup"), [("train", 0.4), ("check", 0.0), ("check", 0.4)])
def test_a_schedule_of_your_own_is_imported_by_the_module(kind, warmup, own_module, tmp_path):
    """With feedback too, under any name; the file says that it needs your code."""
    task, schedule = f"{own_module}.py:task", f"{own_module}.py:{kind}"
    Path("own.toml").write_text(
        f'name = "own"\ntask = "{task}"\ntrials = 1\nfirst_trials = false\n'
        f'[space]\nlr = 0.05\nwarmup_fraction = {warmup}\nkinds = ["{schedule}"]\n'
    )
    allowed = ("--allow-task", task, "--allow-task", schedule)
    succeed("optimize", "own.toml", *allowed)
    text = succeed("export", "own", *allowed).out
    assert f"from {own_module} import {kind} as own_schedule" in text
    assert "The schedule is code of your own" in text
    passes(text, tmp_path)
    passes(succeed("export", "own", *allowed, "--epochs", "11").out, tmp_path)


def test_a_pending_study_says_what_to_do_first(pending):
    """As ``best`` does."""
    assert "has no complete trial yet; go on with: lrsearch optimize 'pen ding'" in refused("export", pending)


def scripted(name, parts):
    """Put a study into the database whose one trial a script of the user's trained."""
    path = Path(f"{name}.toml")
    path.write_text(f'name = "{name}"\ntask = "external"\ntrials = 2\nepochs = 2\n{parts}')
    with package.trial(path) as trial:
        for epoch in (1, 2):
            trial.report(epoch, 0.5)


def test_a_study_that_a_script_trains_is_no_module_but_values():
    """Nothing here can train it once more; what works is named."""
    scripted("sc ript", "")
    message = refused("export", "sc ript")
    assert "code of yours trains it" in message
    assert "lrsearch best 'sc ript'" in message
    assert succeed("export", "sc ript", "--format", "json").json["value"] == 0.5
    advice = "ode of yours trains this study: try the best trial under other seeds"
    assert advice in succeed("best", "sc ript").out
    assert advice in " ".join(succeed("export", "sc ript", "--format", "toml").out.replace("#", "").split())
    succeed("report", "sc ript", "-o", "page.html")
    page = Path("page.html").read_text()
    assert advice in page
    assert "lrsearch confirm" not in page
    assert "lrsearch audit" not in page


@pytest.mark.parametrize("format", ["python", "toml", "json"])
def test_a_study_with_parts_has_no_single_point(format):  # noqa: A002 # the option's name
    """Each part has one of its own, which ``best`` shows."""
    scripted("gan", 'parts = ["generator", "critic"]\n')
    message = refused("export", "gan", "--format", format)
    assert "each of the parts generator, critic" in message
    assert "lrsearch best gan" in message


def test_a_task_that_was_an_object_is_no_module_but_values():
    """Of which the code is not known."""
    package.optimize(regression(), trials=1, epochs=1, name="object", storage="sqlite:///lrsearch.db")
    assert "was given as an object in Python" in refused("export", "object")
    assert succeed("export", "object", "--format", "json").json["trial"] == 0
