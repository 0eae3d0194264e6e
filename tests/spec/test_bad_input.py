"""What is wrong with a study file is said in plain words: where, which key, the value got, what helps."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import InputError, SpecError
from lrsearch.schedules import KINDS
from lrsearch.service.studies import resolved
from lrsearch.spec import OPTIMIZERS, StudySpec, blamed_on, read_spec, resolve, spec_from
from lrsearch.spec.study_spec import RunSpec

START = 'task = "digits-mlp"\ntrials = 3\n'

# What a file says after START, and what the message must contain.
REFUSED = {
    "unknown key": ("trails = 3", "'trails'", "'trials'"),
    "key of another table": ("lr = 0.1", "'lr'", "[space]"),
    "key below a table": ("[space]\nseed = 3", "'space.seed'", "above the first [table]"),
    "unknown key of run": ("[run]\nlane = 3", "'run.lane'", "'lanes'"),
    "unknown knob": ("[space.StepLR]\ngama = 0.1", "'space.StepLR.gama'", "'gamma'"),
    "unknown knob of an optimizer": (
        "[optimizer]\nnestrov = true",
        "'optimizer.nestrov'",
        "'nesterov'",
        "momentum",
    ),
    "knob of another optimizer": (
        '[optimizer]\nname = "Adam"\nmomentum = 0.9',
        "'optimizer.momentum'",
        "beta1, beta2, eps, weight_decay, amsgrad",
    ),
    "unknown key of a range": ("[space]\nlr = { low = 0.1, hihg = 1.0 }", "space.lr", "'hihg'", "high"),
    "inner key": ("[space.knobs]\nStepLR = 1", "'space.knobs'", "[space]"),
    "unknown table of a kind": ("[space.StepLr]\ngamma = 0.1", "'space.StepLr'", "'StepLR'"),
    "unknown kind": ('[space]\nkinds = ["StepLr"]', "space.kinds", "'StepLr'", "'StepLR'"),
    "kind that is not listed": ("[space.Sine]\ncycles = 2", "space.Sine", "'Sine'", "add it"),
    "no kind": ("[space]\nkinds = []", "space.kinds", "empty"),
    "kind twice": ('[space]\nkinds = ["WSD", "WSD"]', "space.kinds", "WSD"),
    "unknown sampler": ('sampler = "tpee"', "sampler", "'tpee'", "'tpe'"),
    "unknown pruner": ('pruner = "ahsa"', "pruner", "'ahsa'", "'asha'"),
    "unknown optimizer": ('[optimizer]\nname = "SDG"', "optimizer.name", "'SDG'", "'SGD'"),
    "optimizer of a wrong type": ('[optimizer]\nname = ["SGD"]', "optimizer.name", "['SGD']", "Adam"),
    "reversed bounds": ("[space]\nlr = { low = 1.0, high = 0.1 }", "space.lr", "low = 1.0, high = 0.1"),
    "zero on a log scale": (
        "[space]\nlr = { low = 0, high = 1.0, log = true }",
        "space.lr",
        "low = 0",
        "low > 0",
    ),
    "negative on a log scale": ("[space]\nlr = { low = -1, high = 1.0, log = true }", "space.lr", "low = -1"),
    "negative lr": ("[space]\nlr = -0.1", "space.lr", "above 0", "-0.1"),
    "zero among lrs": ("[space]\nlr = [0.1, 0.0]", "space.lr", "above 0", "0.0"),
    "lr that is a text": ('[space]\nlr = "high"', "space.lr", "'high'"),
    "lr or zero": ("[space]\nlr = { low = 0.1, high = 1, or_zero = true }", "space.lr", "warmup_fraction"),
    "infinite lr": ("[space]\nlr = inf", "space.lr", "finite", "inf"),
    "lr that is no number": ("[space]\nlr = { low = nan, high = 1.0 }", "space.lr", "finite", "nan"),
    "empty choice": ("[space]\nlr = []", "space.lr", "at least one"),
    "choice with a value twice": ("[space]\nlr = [0.1, 0.1]", "space.lr", "differ", "[0.1, 0.1]"),
    "date": ("[space]\nlr = 2020-01-01", "space.lr", "2020", "a number"),
    "range with a text": ('[space]\nlr = { low = "0.1", high = 1.0 }', "space.lr", "low", "'0.1'", "number"),
    "range without a bound": ("[space]\nlr = { low = 0.1 }", "space.lr", "high", "a number"),
    "warm-up above its limit": ("[space]\nwarmup_fraction = 1.5", "space.warmup_fraction", "0..0.9", "1.5"),
    "negative warm-up": ("[space]\nwarmup_fraction = [-0.1]", "space.warmup_fraction", "0..0.9", "-0.1"),
    "fraction above 1": (
        "[space.StepLR]\nstep_fraction = { low = 0.1, high = 1.5 }",
        "space.StepLR.step_fraction",
        "0..1",
        "1.5",
    ),
    "negative fraction": (
        "[space.OneCycleLR]\npct_start = -0.5",
        "space.OneCycleLR.pct_start",
        "0..1",
        "-0.5",
    ),
    "unknown option of a knob": (
        '[space]\nkinds = ["CyclicLR"]\n[space.CyclicLR]\nmode = "square"',
        "space.CyclicLR.mode",
        "triangular",
        "'square'",
    ),
    "part of a whole number": (
        "[space.ReduceLROnPlateau]\npatience = 1.5",
        "space.ReduceLROnPlateau.patience",
        "whole",
        "1.5",
    ),
    "range of parts of whole numbers": (
        "[space.ReduceLROnPlateau]\npatience = { low = 0.5, high = 2 }",
        "space.ReduceLROnPlateau.patience",
        "whole",
        "0.5",
    ),
    "patience that cannot act": (
        "epochs = 6\n[space.ReduceLROnPlateau]\npatience = 5",
        "space.ReduceLROnPlateau.patience",
        "at most 3",
        "6 epochs",
        "5",
        "raise epochs to 8",
    ),
    "momentum of 1": ("[optimizer]\nmomentum = 1.0", "optimizer.momentum", "0..0.999999", "1.0"),
    "beta of 1": ('[optimizer]\nname = "Adam"\nbeta1 = 1.0', "optimizer.beta1", "0..0.999999", "1.0"),
    "nesterov without momentum": (
        "[optimizer]\nnesterov = true",
        "optimizer.nesterov",
        "momentum = 0",
        "optimizer.momentum = 0.9",
    ),
    "nesterov with dampening": (
        "[optimizer]\nnesterov = [true, false]\nmomentum = 0.9\ndampening = 0.1",
        "optimizer.nesterov",
        "dampening = 0.1",
    ),
    "more trials than a grid has": (
        'sampler = "grid"\n[space]\nlr = [0.1, 1.0]\nkinds = ["constant"]\nwarmup_fraction = 0.0',
        "trials",
        "2",
        "3",
    ),
    "range in a grid": ('sampler = "grid"', "lr", "points"),
    "list where a table is due": ("[space]\nStepLR = 3", "space.StepLR", "a table", "3"),
    "kind that is a number": ("[space]\nkinds = [1]", "space.kinds", "names", "1"),
    "negative seed": ("seed = -1", "seed", "from 0", "-1"),
    "no trial": ("epochs = 0", "epochs", "from 1", "0"),
    "no lane": ("[run]\nlanes = 0", "run.lanes", "from 1 to 4096, or auto", "0"),
    "lanes in words": ('[run]\nlanes = "many"', "run.lanes", "auto", "'many'"),
    "no time": ("[run]\ntimeout_s = 0", "run.timeout_s", "above 0", "0"),
    "endless time": ("[run]\ntimeout_s = inf", "run.timeout_s", "finite", "inf"),
    "time in words": ('[run]\ntimeout_s = "600"', "run.timeout_s", "number of seconds", "'600'"),
    "unknown device": ('[run]\ndevice = "gpu"', "run.device", "cuda:N", "'gpu'"),
    "key twice": ("trials = 4", "not TOML", "only once", "trials = 4"),
    "no TOML": ("[run\n", "not TOML", "[run"),
}


@pytest.fixture
def study_file(tmp_path):
    """Return a function that writes a study file."""

    def write(text, name="study.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def opened(path, overrides=None):
    """Return the specification in a file, resolved."""
    spec = read_spec(path, overrides)
    with blamed_on(str(path), overrides):
        return resolved(spec)


def refusal(path, overrides=None):
    """Return the message with which a study file is refused."""
    with pytest.raises(InputError) as refused:
        opened(path, overrides)
    return str(refused.value)


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_rule_is_named_with_file_key_value_and_help(study_file, name):
    """One line names the file, and has the key, the value got, and what is allowed; no word of pydantic's."""
    text, *expected = REFUSED[name]
    path = study_file(START + text + "\n# the last line\n")
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert len(message.removeprefix(str(path)).splitlines()) <= 2
    for words in expected:
        assert words in message
    for foreign in ("Input should", "Value error", "pydantic", "knobs.", "union", "constrained"):
        assert foreign not in message


def test_the_missing_keys_are_all_named(study_file):
    """Task and trials have no default."""
    message = refusal(study_file("seed = 1"))
    assert "'task' is missing" in message
    assert "'trials' is missing; it must be a whole number" in message
    assert len(message.splitlines()) == 2


def test_an_unknown_task_is_refused_with_the_nearest_name(study_file):
    """The task is looked up before anything is stored."""
    path = study_file('task = "digit-mlp"\ntrials = 3')
    message = refusal(path)
    assert message.startswith(f"{path}: unknown task 'digit-mlp'. Did you mean 'digits-mlp'?")


def fields_of_a_file():
    """All keys of a study file that hold no table of free keys."""
    keys = [name for name in StudySpec.model_fields if name not in {"optimizer", "space", "run"}]
    return [*keys, "optimizer.name", "space.kinds", *(f"run.{name}" for name in RunSpec.model_fields)]


@pytest.mark.parametrize("key", [*fields_of_a_file(), "optimizer", "space", "run"])
def test_a_value_of_a_wrong_type_is_refused_in_plain_words(key):
    """Whatever the key, the message says what it must be and what it was."""
    content = {"name": "s", "task": "digits-mlp", "trials": 3}
    table, _, name = key.rpartition(".")
    (content.setdefault(table, {}) if table else content)[name] = datetime.date(2020, 1, 2)
    with pytest.raises(SpecError) as refused:
        spec_from(content, "f.toml")
    message = str(refused.value)
    assert message.startswith(f"f.toml: {key} must be ")
    assert message.endswith(", but got datetime.date(2020, 1, 2)")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", ["", " x", "a/b", "../x", "-x", "x" * 101, "a\nb", "naïve"])
def test_a_name_that_is_no_name_is_refused(name):
    """Names go into files, commands and pages: letters, digits, spaces and three signs."""
    with pytest.raises(SpecError, match=r"f\.toml: name must be 1 to 100 letters"):
        spec_from({"name": name, "task": "digits-mlp", "trials": 3}, "f.toml")


@pytest.mark.parametrize(
    ("overrides", "option", "value"),
    [
        ({"trials": 0}, "--trials", "0"),
        ({"epochs": -1}, "--epochs", "-1"),
        ({"sampler": "tpee"}, "--sampler", "'tpee'"),
        ({"pruner": "best"}, "--pruner", "'best'"),
        ({"seed": -5}, "--seed", "-5"),
        ({"name": "a/b"}, "--name", "'a/b'"),
        ({"run.timeout_s": 0.0}, "--timeout-s", "0.0"),
        ({"run.lanes": 0}, "--lanes", "0"),
        ({"run.device": "gpu"}, "--device", "'gpu'"),
    ],
)
def test_an_option_that_breaks_a_rule_is_named_as_option(study_file, overrides, option, value):
    """The command line is to blame, not the file."""
    path = study_file(START)
    message = refusal(path, overrides)
    assert message.startswith(f"option {option}: ")
    assert value in message
    assert str(path) not in message
    assert len(message.splitlines()) == 1


def test_an_option_is_not_blamed_for_a_key_of_the_same_last_name(study_file):
    """The name of the study is not that of the optimizer."""
    path = study_file(START + '[optimizer]\nname = "SDG"')
    assert refusal(path, {"name": "x"}).startswith(f"{path}: optimizer.name")


def test_an_option_that_overfills_a_grid_is_named_as_option(study_file):
    """Rules that need the whole specification name the option too."""
    path = study_file(
        START + 'sampler = "grid"\n[space]\nlr = [0.1, 0.2, 0.3]\nkinds = ["constant"]\nwarmup_fraction = 0.0'
    )
    message = refusal(path, {"trials": 9})
    assert message.startswith("option --trials: the grid has 3 points, but trials = 9")


def test_a_missing_file_is_refused_with_its_neighbours(study_file):
    """The nearest file beside it, and the studies that need no file."""
    near = study_file(START, "digits.toml")
    message = refusal(near.with_name("digts.toml"))
    assert "digts.toml" in message
    assert f"Did you mean {str(near)!r}?" in message
    assert "digits-tpe" in message


def test_a_missing_folder_is_no_other_error(tmp_path):
    """There are no neighbours to name."""
    message = refusal(tmp_path / "no" / "such.toml")
    assert "such.toml" in message
    assert "Did you mean" not in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00\x01", "UTF-8"),
        (b"name = \x80", "UTF-8"),
        (b"# " + b"x" * 1_000_001, "1,000,000 bytes"),
        (b"", "'task' is missing"),
        (b"\x00", "not TOML"),
    ],
)
def test_what_is_no_study_file_is_refused(study_file, content, words):
    """Bytes, novels, nothing."""
    path = study_file(content)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert words in message


def test_a_folder_is_no_study_file(tmp_path):
    """It cannot be read, and the reason is the system's."""
    folder = tmp_path / "s.toml"
    folder.mkdir()
    assert refusal(folder) == f"{folder}: cannot be read: Is a directory"


def test_several_broken_rules_are_named_together(study_file):
    """A line each, in one go."""
    message = refusal(study_file('task = "digits-mlp"\ntrials = 0\nsampler = "x"\n[run]\nlanes = 0'))
    assert len(message.splitlines()) == 3


def test_a_changed_specification_is_checked_again():
    """A budget beyond all bounds is refused as a file's would be."""
    spec = spec_from({"name": "s", "task": "digits-mlp", "trials": 3}, "test")
    with pytest.raises(
        SpecError, match=r"study 's': trials must be a whole number from 1 to 1000000, but got"
    ):
        spec.replace(trials=2_000_000)


KEYS = sorted({"low", "high", "log", "points", "or_zero", "knobs", "lr", "kinds", "warmup_fraction", "name"})
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.dates()
    | st.sampled_from([*KINDS, *OPTIMIZERS, "auto", "grid", "tpe"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*KEYS, *KINDS, "gamma", "patience", "momentum"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


def resolution_or_refusal(content):
    """Return the resolved specification, or the error that refuses it."""
    try:
        return resolve(spec_from(content, "f.toml"), 20, 32)
    except InputError as error:
        return error


@settings(max_examples=400)
@given(
    st.dictionaries(st.sampled_from(sorted(StudySpec.model_fields)), VALUES, max_size=3),
    st.dictionaries(
        st.sampled_from(["lr", "warmup_fraction", "kinds", "StepLR", "Sine"]), VALUES, max_size=2
    ),
    st.dictionaries(st.sampled_from(["name", "momentum", "nesterov", "beta1", "eps"]), VALUES, max_size=2),
)
def test_no_content_ends_in_any_other_error(top, space, optimizer):
    """Whatever a file holds, it is a specification or is refused as one."""
    content = {"name": "s", "task": "digits-mlp", "trials": 3, "space": space, "optimizer": optimizer, **top}
    outcome = resolution_or_refusal(content)
    assert isinstance(outcome, StudySpec) or str(outcome)
