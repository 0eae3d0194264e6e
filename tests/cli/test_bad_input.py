"""Bad input gets a clear error of a few lines, exit code 2, and nothing is lost."""

from dataclasses import replace
from pathlib import Path

import pytest

from lrsearch.tasks import files
from tests.cli.commands import refused, succeed

START = 'task = "digits-mlp"\ntrials = 3\nepochs = 2\n'

REFUSED = {
    "unknown key": (START + "trails = 3\n", "'trails'", "Did you mean 'trials'?"),
    "unknown knob": (START + "[space.StepLR]\ngama = 0.1\n", "'space.StepLR.gama'", "Did you mean 'gamma'?"),
    "wrong type": (START + 'seed = "1"\n', "seed must be a whole number", "'1'"),
    "reversed bounds": (START + "[space]\nlr = { low = 1.0, high = 0.1 }\n", "space.lr", "low = 1.0"),
    "log of zero": (START + "[space]\nlr = { low = 0.0, high = 0.1, log = true }\n", "space.lr", "low = 0.0"),
    "negative lr": (START + "[space]\nlr = -1\n", "space.lr", "-1"),
    "fraction": (START + "[space.StepLR]\nstep_fraction = 2.0\n", "space.StepLR.step_fraction", "0..1"),
    "warm-up": (START + "[space]\nwarmup_fraction = 1.1\n", "space.warmup_fraction", "1.1"),
    "patience": (START + "[space.ReduceLROnPlateau]\npatience = 5\n", "patience", "2 epochs"),
    "no trials": (START.replace("= 3", "= 0"), "trials must be", "0"),
    "grid": (
        START + 'sampler = "grid"\n[space]\nlr = [0.1]\nkinds = ["constant"]\nwarmup_fraction = 0.0\n',
        "the grid has 1 points",
        "3",
    ),
    "task": (START.replace("digits", "digit"), "unknown task 'digit-mlp'", "'digits-mlp'"),
    "kind": (START + '[space]\nkinds = ["Cosine"]\n', "'Cosine'", "CosineAnnealingLR"),
    "sampler": (START + 'sampler = "bayes"\n', "sampler", "'bayes'", "tpe"),
    "pruner": (START + 'pruner = "hyperband"\n', "pruner", "'hyperband'", "asha"),
    "optimizer": (START + '[optimizer]\nname = "adam"\n', "'adam'", "'Adam'"),
    "not TOML": ("trials: 3\n", "not TOML", "trials: 3"),
}


@pytest.fixture
def no_mirror(monkeypatch):
    """Let every download fail at once."""
    for name, dataset in files.DATASETS.items():
        monkeypatch.setitem(files.DATASETS, name, replace(dataset, mirrors=("http://127.0.0.1:1/",)))


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_study_file_is_refused_in_a_few_lines(name):
    """The file, the key, the value got and what helps; no study comes of it."""
    text, *expected = REFUSED[name]
    Path("bad.toml").write_text(text)
    message = refused("optimize", "bad.toml")
    assert message.startswith("bad.toml: ")
    for words in expected:
        assert words in message
    assert succeed("studies", "--format", "json").json == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trials", "0"], "option --trials: trials must be a whole number from 1"),
        (["--epochs", "-3"], "option --epochs: epochs must be"),
        (["--sampler", "tpo"], "option --sampler: sampler = 'tpo' is unknown. Did you mean 'tpe'?"),
        (["--pruner", "asah"], "option --pruner: pruner = 'asah' is unknown. Did you mean 'asha'?"),
        (["--seed", "-1"], "option --seed: seed must be"),
        (["--timeout-s", "0"], "option --timeout-s: run.timeout_s must be"),
        (["--timeout-s", "nan"], "option --timeout-s: run.timeout_s must be"),
        (["--device", "gpu"], "option --device: run.device must be auto, cpu, mps, cuda or cuda:N"),
        (["--lanes", "0"], "option --lanes: run.lanes must be a whole number from 1 to 4096, or auto"),
        (["--name", "../x"], "option --name: name must be"),
        (["--sampler", "grid"], "points"),
    ],
)
@pytest.mark.parametrize("study", ["digits-tpe", "stored"])
def test_a_bad_option_is_named_as_option(finished, options, words, study):
    """Beside a file and beside a stored study."""
    wanted = finished if study == "stored" else study
    if study == "stored" and options == ["--sampler", "grid"]:
        options, words = ["--trials", "7"], "option --trials: the grid has 6 points, but trials = 7"
    assert words in refused("optimize", wanted, *options)
    assert [row["ended"] for row in succeed("studies", "--format", "json").json] == [5]


def test_a_missing_file_is_refused_with_what_there_is():
    """Its nearest neighbour, and the studies that need no file."""
    Path("digits.toml").write_text(START)
    message = refused("optimize", "digts.toml")
    assert "there is no study file 'digts.toml'. Did you mean 'digits.toml'?" in message
    assert "mnist-tpe" in message


def test_an_unknown_name_is_refused_with_what_there_is(finished):
    """Stored studies and those that come with lrsearch."""
    message = refused("optimize", "digits-tpee")
    assert "unknown study 'digits-tpee'. Did you mean 'digits-tpe'?" in message
    assert finished in message


@pytest.mark.usefixtures("no_mirror")
def test_a_download_that_is_impossible_says_what_to_do():
    """What to put where, and the task that needs none; no study comes of it."""
    message = refused("optimize", "mnist-tpe", "--data-dir", "data")
    assert "train-images-idx3-ubyte.gz" in message
    assert str(Path("data", "MNIST", "raw")) in message
    assert "digits-mlp" in message
    assert succeed("studies", "--format", "json").json == []
    assert "digits-mlp" in refused("data", "fetch", "fashion-mnist", "--data-dir", "data")


@pytest.mark.usefixtures("no_mirror")
@pytest.mark.parametrize("command", [["optimize", "mnist-tpe"], ["data", "fetch", "mnist"]])
def test_a_data_folder_that_cannot_be_written_is_refused(command, monkeypatch):
    """From option or variable: below a file there is no folder."""
    Path("file").write_text("")
    message = refused(*command, "--data-dir", "file/data")
    assert str(Path("file", "data", "MNIST")) in message
    assert "LRSEARCH_DATA_DIR" in message
    monkeypatch.setenv("LRSEARCH_DATA_DIR", "file/variable")
    assert str(Path("file", "variable")) in refused(*command)


def test_fetching_what_is_there_says_where(monkeypatch):
    """The folder of the complete data set."""
    monkeypatch.setattr(files, "fetch", lambda name, folder: folder / name)
    out = succeed("data", "fetch", "mnist", "--data-dir", "data").out
    assert out == f"mnist is complete in {Path('data', 'mnist')}\n"


def test_a_mistake_of_our_own_is_no_bad_input(monkeypatch):
    """What nobody foresaw leaves with 1 and its traceback, for a report."""

    def broken(_database):
        raise ZeroDivisionError("our mistake")

    monkeypatch.setattr("lrsearch.storage.studies.list_studies", broken)
    with pytest.raises(ZeroDivisionError):
        refused("studies")
