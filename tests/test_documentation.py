"""README and docs are true to the letter: their commands run, their files and links exist."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from urllib.request import urlopen

import pytest

from lrsearch.cli import main
from lrsearch.review.report.catalogue import FIGURES
from lrsearch.service.studies import resolved
from lrsearch.spec import read_spec, spec_from
from tests.cli.commands import serving

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path, start: str) -> list[str]:
    """Return the lines of a page's shell blocks that begin with a word, their comments removed."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = (line.partition("#")[0].strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line.split(" ")[0] == start]


def run(monkeypatch, command: str) -> None:
    """Run a command of lrsearch in this process; anything but success is an error."""
    if command.startswith("lrsearch dashboard"):
        visit(command)
        return
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in {0, None}, command


def visit(command: str) -> None:
    """Start a dashboard in a process of its own, fetch the page that it names, and stop it."""
    with serving(*shlex.split(command)[2:], BROWSER="true") as server:
        with urlopen(server.address) as page:
            assert b"<title>Optuna Dashboard</title>" in page.read()
        assert server.stopped().code == 0


def test_every_command_of_the_readme_runs(monkeypatch, tmp_path, capsys):
    """All commands on the bundled digits, in the README's order, on one database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    [model] = re.findall(r"```python\n(# model\.py\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "model.py").write_text(model)
    lines = [line for line in commands(ROOT / "README.md", "lrsearch") if line != "lrsearch optimize"]
    assert len(lines) >= 8
    for line in lines:
        run(monkeypatch, line)
    printed = capsys.readouterr().out
    assert "Study digits-tpe: 40 of 40 trials have ended" in printed
    assert "Study digits-tpe: 50 of 50 trials have ended" in printed
    assert "Study model: 40 of 40 trials have ended" in printed
    assert "optimizer = torch.optim.SGD(model.parameters()" in printed


def test_the_command_without_an_argument_searches_mnist(monkeypatch, tmp_path, capsys, mnist_dir):
    """``lrsearch optimize`` runs on the real files, here with a budget of two short trials."""
    assert "lrsearch optimize" in commands(ROOT / "README.md", "lrsearch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    run(monkeypatch, f"lrsearch optimize --trials 2 --epochs 1 --data-dir {mnist_dir}")
    assert "Study mnist-tpe: 2 of 2 trials have ended" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_of_the_readmes_verdict_run(monkeypatch, tmp_path, capsys, mnist_dir):
    """Search and confirmation whose figures the README shows, here with short trials and few of them."""
    found = re.findall(r"`(lrsearch (?:optimize|confirm) mnist-tpe)`", (ROOT / "README.md").read_text())
    assert found == ["lrsearch optimize mnist-tpe", "lrsearch confirm mnist-tpe"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    run(monkeypatch, f"{found[0]} --trials 2 --epochs 1 --data-dir {mnist_dir} --quiet")
    run(monkeypatch, f"{found[1]} --top 1 --seeds 4 --data-dir {mnist_dir}")
    assert "On 2 fresh seeds that did not select it, its validation loss is " in capsys.readouterr().out


def test_the_commands_of_the_range_test_page_run(monkeypatch, tmp_path, capsys):
    """In their order, on the bundled digits, on one database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    for line in commands(ROOT / "docs" / "range-test.md", "lrsearch"):
        run(monkeypatch, line)
    assert (tmp_path / "range-test.html").is_file()
    assert "Study digits-tpe: 20 of 20 trials have ended" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_of_the_page_on_the_dashboard_run(monkeypatch, tmp_path):
    """In their order, on one database; each dashboard serves the page that it names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    lines = commands(ROOT / "docs" / "dashboard.md", "lrsearch")
    assert len([line for line in lines if line.startswith("lrsearch dashboard")]) == 2
    for line in lines:
        run(monkeypatch, line)


def test_the_commands_of_the_page_on_fused_training_run(monkeypatch, tmp_path, capsys):
    """With lanes and workers chosen, and one by one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    for line in commands(ROOT / "docs" / "fused-training.md", "lrsearch"):
        run(monkeypatch, line)
    printed = capsys.readouterr().out
    assert "Study by-itself: 16 of 16 trials have ended" in printed
    assert "Study one-by-one: 16 of 16 trials have ended" in printed


def test_the_commands_of_the_page_on_checkpoints_run(monkeypatch, tmp_path, capsys):
    """A run that stops says how it goes on; at the end no checkpoint is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    for line in commands(ROOT / "docs" / "checkpoints.md", "lrsearch"):
        run(monkeypatch, line)
    assert "Nothing to delete." in capsys.readouterr().out
    assert not list(tmp_path.glob("*.checkpoints/*/*"))


def test_the_commands_of_the_page_on_watching_run(monkeypatch, tmp_path, capsys):
    """In their order, on one database; the names in the page's tables are those that the commands print."""
    page = ROOT / "docs" / "operations.md"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    (tmp_path / "script.toml").write_text('task = "external"\ntrials = 1\nepochs = 1\n')
    line = json.dumps({"epoch": 1, "valid_loss": 0.5})
    script = f"import os; print({line!r}, file=open(os.environ['LRSEARCH_REPORT_FILE'], 'a'))"
    (tmp_path / "train.py").write_text(script)
    lines = commands(page, "lrsearch")
    assert len(lines) == 7
    for line in lines:
        run(monkeypatch, line)
    assert "digits-tpe  done   20/20" in capsys.readouterr().out
    promised = re.findall(r"^\| `(lrsearch_\w+)`", page.read_text(), re.MULTILINE)
    figures = re.findall(r"^(lrsearch_\w+)\{", (tmp_path / "worker.prom").read_text(), re.MULTILINE)
    assert set(promised) == set(figures)


@pytest.mark.slow
def test_the_commands_of_the_page_on_many_machines_run(monkeypatch, tmp_path, capsys):
    """In their order, on one database; those that start Ray in a process of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    lines = commands(ROOT / "docs" / "distributed.md", "lrsearch")
    assert len(lines) >= 8
    for line in lines:
        if "--engine ray" in line:
            words = [sys.executable, "-m", *shlex.split(line)]
            subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        else:
            run(monkeypatch, line)
    counts = re.findall(r"Study digits-tpe: (\d+ of \d+) trials have ended", capsys.readouterr().out)
    assert counts[:2] == ["40 of 40", "60 of 60"]


@pytest.mark.slow
def test_the_commands_of_the_page_on_the_database_run(monkeypatch, tmp_path, capsys, created_postgresql_url):
    """In their order, the variable set and unset as it says, with an empty database on a server of ours."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "database.md").read_text()
    page = page.replace("postgresql://me@db.example/studies", created_postgresql_url)
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    for line in (line.partition("#")[0].strip() for block in blocks for line in block.splitlines()):
        if line.startswith("export "):
            monkeypatch.setenv(*line.removeprefix("export ").split("=", 1))
        elif line.startswith("unset "):
            monkeypatch.delenv(line.removeprefix("unset "))
        else:
            run(monkeypatch, line)
    printed = capsys.readouterr().out
    assert "Study digits-tpe: 12 of 12 trials have ended" in printed
    assert len(re.findall(r"^Copied 1 study ", printed, re.MULTILINE)) == 4
    assert (tmp_path / "from-server.db").is_file()


@pytest.mark.slow
def test_the_commands_of_the_page_on_confirmation_run(monkeypatch, tmp_path, capsys):
    """In their order, on the bundled digits, on one database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    for line in commands(ROOT / "docs" / "confirmation.md", "lrsearch"):
        run(monkeypatch, line)
    printed = capsys.readouterr().out
    assert "On 3 fresh seeds that did not select it, its validation loss is " in printed
    assert "Of 6 stopped trials that were trained to their end, " in printed


@pytest.mark.slow
def test_the_page_on_exports_runs(monkeypatch, tmp_path, capsys):
    """Its commands in their order, the self-tests of what they wrote, and the example that trains with it."""
    page = (ROOT / "docs" / "export.md").read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    for line in commands(ROOT / "docs" / "export.md", "lrsearch"):
        run(monkeypatch, line)
    assert {"winner.py", "third.py", "long.py", "trained"} <= {path.name for path in tmp_path.iterdir()}
    with warnings.catch_warnings():
        for name in ("winner.py", "third.py", "long.py"):
            assert self_test(monkeypatch, name) == 0
        monkeypatch.syspath_prepend(tmp_path)
        [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        exec(compile(example, "docs/export.md", "exec"), {})
    assert "epoch 20: validation loss 0.5" in capsys.readouterr().out


def self_test(monkeypatch, name):
    """Run an exported module as a program that checks, and return its exit code."""
    monkeypatch.setattr("sys.argv", [name, "--check"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(name, run_name="__main__")
    return end.value.code


@pytest.mark.slow
def test_the_commands_of_the_page_on_the_report_run(monkeypatch, tmp_path, capsys):
    """Each figure that the page names is drawn, and no other exists; three studies are compared."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    page = ROOT / "docs" / "report.md"
    for line in commands(page, "lrsearch"):
        run(monkeypatch, line)
    assert "Study digits-tpe: 40 of 40 trials have ended" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("*.html")} == {"report.html", "samplers.html"}
    assert (tmp_path / "loss.svg").is_file()
    assert "3 studies compared" in (tmp_path / "samplers.html").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", page.read_text(), re.MULTILINE) == list(FIGURES)


def test_the_page_of_your_own_model_runs_from_top_to_bottom(monkeypatch, tmp_path, capsys):
    """Its files are written, its Python and its commands run, in order, each on what came before."""
    page = (ROOT / "docs" / "your-own-model.md").read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    namespace = {}
    for language, block in re.findall(r"```(python|sh|toml)\n(.*?)```", page, re.DOTALL):
        if language == "sh":
            for line in block.splitlines():
                run(monkeypatch, line)
        elif language == "toml":
            content = {"name": "groups", "task": "digits-mlp", "trials": 1, **tomllib.loads(block)}
            assert resolved(spec_from(content, "the page")).groups.frozen == ("2.bias",)
        else:
            named = re.match(r"# (\w+\.py)\n", block)
            if named:
                (tmp_path / named[1]).write_text(block)
            exec(compile(block, named[1] if named else page[:20], "exec"), namespace)
    printed = capsys.readouterr().out
    assert "Study model: 12 of 12 trials have ended" in printed
    assert "optimizer = torch.optim.SGD(model.parameters()" in printed
    assert len(namespace["study"].trials) == 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    """Links within the project name files that exist."""
    for target in re.findall(r"\]\(([^)#]+?)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).is_file(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_exists(page):
    """A page names no target that the Makefile lacks."""
    makefile = (ROOT / "Makefile").read_text()
    for line in commands(page, "make"):
        assert f"\n{line.split()[1]}:" in makefile


def test_the_study_file_of_the_documentation_is_one(tmp_path):
    """The example with every key and the grid read and resolve."""
    examples = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "study-files.md").read_text(), re.DOTALL)
    file = tmp_path / "example.toml"
    for example, name in zip(examples, ("my-study", "example"), strict=True):
        file.write_text(example)
        assert resolved(read_spec(file)).name == name


def test_every_shipped_study_says_what_it_is():
    """A study file begins with a comment and reads as it stands."""
    files = sorted((ROOT / "studies").glob("*.toml"))
    assert len(files) == 7
    for file in files:
        assert file.read_text().startswith("# ")
        assert resolved(read_spec(file)).name == file.stem
