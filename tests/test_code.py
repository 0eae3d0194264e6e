"""Code that the user names: imported only if allowed, once, and its failures told in its own frames."""

import pickle
import sys
import sysconfig
from pathlib import Path

import pytest

from lrsearch import code
from lrsearch.errors import CodeError, CodeNotAllowedError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, and forget afterwards what was imported from it."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder, name, text):
    """Write a file of Python code."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load(reference):
    """Load code that is allowed."""
    return code.load(reference, {reference})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("package.module:name", True),
        ("module:Name", True),
        ("path/to/file.py:name", True),
        ("./my file.py:name", True),
        (r"C:\work\file.py:name", True),
        ("mnist-mlp", False),
        ("file.py", False),
        ("file.py:", False),
        ("file.py:not a name", False),
        ("a-b:name", False),
        ("OneCycleLR", False),
    ],
)
def test_a_reference_is_a_place_and_a_name(text, expected):
    """Files end in .py, modules are dotted names, and what is named is an identifier."""
    assert code.is_reference(text) == expected


def test_code_that_is_not_allowed_is_not_imported(folder):
    """Neither a file nor a module runs; the error says how to allow it."""
    write(folder, "harm.py", "import pathlib\npathlib.Path('done').touch()\nthing = 1\n")
    for reference in ("harm.py:thing", "harm:thing", str(folder / "harm.py:thing")):
        for allowed in ((), ("other.py:thing",)):
            with pytest.raises(CodeNotAllowedError, match=f"--allow-task .*{reference[-13:]}"):
                code.load(reference, allowed)
    with pytest.raises(CodeNotAllowedError, match=r"allow it \(allowed is 'harm\.py:think'\): --allow-task"):
        code.load("harm.py:thing", ("harm.py:think",))
    assert not (folder / "done").exists()
    assert load("harm.py:thing") == 1
    assert (folder / "done").exists()


def test_a_path_with_spaces_is_quoted_for_the_shell():
    """The command that the error shows can be pasted."""
    with pytest.raises(CodeNotAllowedError, match=r"--allow-task 'my file\.py:task'"):
        code.load("my file.py:task", ())


def test_a_file_is_one_module_however_it_is_reached(folder):
    """Loaded by two paths and imported by another file, it is executed once."""
    write(folder, "thing.py", "runs = []\nruns.append(1)\nclass Thing: pass\n")
    write(folder, "other.py", "from thing import Thing as Other\n")
    first = load("thing.py:Thing")
    assert load("./thing.py:Thing") is first
    assert load(f"{folder}/thing.py:Thing") is first
    assert load("other.py:Other") is first
    assert load("thing.py:runs") == [1]


@pytest.mark.parametrize("name", ["thing.py", "json.py", "time.py", "my-task.py", "a b.py"])
def test_objects_of_a_file_can_be_pickled(folder, name):
    """Also where the file's name is a module's of Python's own, or no name at all."""
    write(folder, name, "class Thing: pass\n")
    thing = load(f"{name}:Thing")()
    assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


def test_files_of_one_name_in_two_folders_are_two_modules(folder):
    """Neither takes the other's place."""
    write(folder, "one/task.py", "value = 1\n")
    write(folder, "two/task.py", "value = 2\n")
    assert [load("one/task.py:value"), load("two/task.py:value"), load("one/task.py:value")] == [1, 2, 1]


def test_a_file_finds_what_lies_beside_it(folder):
    """Its own folder is searched first, as when Python runs it."""
    write(folder, "deep/neighbour.py", "value = 7\n")
    write(folder, "deep/task.py", "from neighbour import value\n")
    assert load("deep/task.py:value") == 7


def test_modules_of_the_working_directory_are_found(folder):
    """A package beside the user needs no installation."""
    write(folder, "mypackage/__init__.py", "")
    write(folder, "mypackage/tasks.py", "value = 3\n")
    assert load("mypackage.tasks:value") == 3


def test_a_failure_shows_the_users_frames_alone(folder):
    """Neither lrsearch nor importlib nor Python's library stand in the text; causes do."""
    write(folder, "sizes.py", "import json\ndef size():\n    return json.loads('{')\n")
    write(
        folder,
        "task.py",
        "import sizes\ntry:\n    width = sizes.size()\n"
        "except ValueError as error:\n    raise KeyError('w') from error\n",
    )
    with pytest.raises(CodeError) as caught:
        load("task.py:width")
    text = str(caught.value)
    assert text.startswith("task.py cannot be imported:\n")
    assert text.rstrip().endswith("KeyError: 'w'")
    for part in (f'{folder}/task.py", line 5', f'{folder}/task.py", line 3', f'{folder}/sizes.py", line 3'):
        assert part in text
    for foreign in ("lrsearch/code.py", "importlib", "json/"):
        assert foreign not in text
    assert "JSONDecodeError" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("def f(:\n", "SyntaxError"),
        ("import sys; sys.exit('no')\n", "SystemExit: no"),
        ("import nowhere_to_be_found\n", "No module named 'nowhere_to_be_found'"),
    ],
)
def test_whatever_importing_raises_is_told(folder, content, told):
    """Syntax errors, exits and missing packages name file and line."""
    write(folder, "bad.py", content)
    for reference in ("bad.py:x", "bad:x"):
        with pytest.raises(CodeError, match=told) as caught:
            load(reference)
        assert 'bad.py", line 1' in str(caught.value)


def test_a_file_that_failed_can_be_loaded_when_it_is_mended(folder):
    """Nothing half-made is kept."""
    path = write(folder, "mended-later.py", "raise ValueError\n")
    with pytest.raises(CodeError):
        load("mended-later.py:value")
    path.write_text("value = 'mended now'\n")
    assert load("mended-later.py:value") == "mended now"


def test_a_wrong_name_is_answered_with_the_nearest(folder):
    """Only what the file defines itself is offered."""
    write(folder, "task.py", "import os\nfrom pathlib import Path\nclass MyTask: pass\n_hidden = 1\n")
    with pytest.raises(CodeError, match=r"task.py has no 'MyTsk'. Did you mean 'MyTask'\? Known: MyTask\.$"):
        load("task.py:MyTsk")


@pytest.mark.parametrize("reference", ["nowhere.py:task", "nowhere:task", "nowhere.deeper:task"])
def test_a_place_that_does_not_exist_is_told(folder, reference):
    """The error names the place and the folder that was searched."""
    with pytest.raises(CodeError, match=r"there is no (file|module) 'nowhere") as caught:
        load(reference)
    assert str(folder) in str(caught.value)


def test_what_is_no_reference_is_refused():
    """The two forms are named."""
    with pytest.raises(CodeError, match=r"package\.module:name or path/to/file.py:name"):
        load("mnist-mlp")


@pytest.mark.parametrize("library", [Path(code.__file__).parent, Path(sysconfig.get_path("stdlib"))])
def test_a_folder_whose_name_begins_like_a_librarys_is_the_users(library):
    """``lrsearch_models`` lies beside ``lrsearch``, and is not a part of it."""
    place = f"{library}_models/net.py"
    scope = {}
    exec(compile("def build():\n    raise ValueError('width')\n", place, "exec"), scope)
    with pytest.raises(ValueError, match="width") as caught:
        scope["build"]()
    assert f'"{place}", line 2, in build' in code.user_traceback(caught.value)
    assert code.user_frame(caught.value) == f"{place}:2 in build"
