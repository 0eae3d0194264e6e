"""What is stored or named in a study is data: no line of lrsearch runs it as code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lrsearch as package

ROOT = Path(package.__file__).parent

# Whoever can write what these read runs code of theirs here.
READERS = frozenset({"cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"})
CALLS = frozenset({"eval", "exec", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler"})

# Code that the user has named on the command line, or allowed by --allow-task.
ALLOWED = {("code.py", "exec")}


def findings(source: str) -> Iterator[str]:
    """Yield what in a module's code could run data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in READERS)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from sorted(names & CALLS)
            if str(node.module).split(".")[0] in READERS:
                yield str(node.module)
        elif isinstance(node, ast.Call):
            yield from _dangerous(node)


def _dangerous(call: ast.Call) -> Iterator[str]:
    name, options = (
        ast.unparse(call.func),
        {option.arg: ast.unparse(option.value) for option in call.keywords},
    )
    if name in CALLS:
        yield name
    if name == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if "allow_pickle" in options and options["allow_pickle"] != "False":
        yield f"{name} with allow_pickle"


@pytest.mark.parametrize(
    "source",
    [
        "import yaml",
        "from pickle import loads",
        "import pickle\npickle.loads(b'')",
        "eval('1')",
        "exec('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_what_runs_data_is_found(source: str) -> None:
    """The search itself sees each way."""
    assert list(findings(source))


def test_no_module_runs_what_it_reads() -> None:
    """No pickle, no evaluated text, no YAML; weights alone are read from checkpoints."""
    modules = sorted(ROOT.rglob("*.py"))
    assert len(modules) > 100
    found = {
        (str(path.relative_to(ROOT)), finding)
        for path in modules
        for finding in findings(path.read_text(encoding="utf-8"))
    }
    assert found == ALLOWED
