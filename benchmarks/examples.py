"""What the examples show, how long each is, and how long it takes with its default budget.

    python -m benchmarks.examples > docs/examples.md

Each runs as the page says, in processes of its own, on a copy of the folder with a new database.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Example:
    """An example, and the command that runs it.

    Args:
        file: its name in ``examples/``.
        shows: what it is there for.
        command: how it is run from the root; None is ``python examples/FILE``.
    """

    file: str
    shows: str
    command: str | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return ROOT / "examples" / self.file

    @property
    def command_line(self) -> str:
        """What a user types."""
        return self.command or f"python examples/{self.file}"

    @property
    def lines(self) -> int:
        """Lines that are not empty; of a notebook, those of its code."""
        text = self.path.read_text(encoding="utf-8")
        if self.path.suffix == ".ipynb":
            cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
            text = "\n".join("".join(cell["source"]) for cell in cells)
        return sum(bool(line.strip()) for line in text.splitlines())

    @property
    def row(self) -> str:
        """Its row of the table, without the time."""
        return f"| [{self.file}](../examples/{self.file}) | {self.shows} | {self.lines} |"


EXAMPLES = (
    Example("regression.py", "a table with ten columns, a perceptron"),
    Example("convolution.py", "images, batch normalisation, dropout, a metric beside the loss"),
    Example("sequence.py", "sequences, a GRU, a bound on the gradient's norm"),
    Example("characters.py", "text, a small GPT with AdamW, loss per character"),
    Example("fine_tuning.py", "a trained body under a new head; one learning rate, and one for each layer"),
    Example("lbfgs.py", "an optimizer that takes a closure, on whole batches; its own arguments searched"),
    Example("optuna_objective.py", "`lrsearch.suggest_schedule` in an Optuna study of your own"),
    Example(
        "training_script.py",
        "a training loop of your own; `lrsearch worker` runs it for each trial of "
        "[a study](../examples/training_script.toml)",
        "lrsearch worker --study examples/training_script.toml "
        '--command "python examples/training_script.py"',
    ),
    Example(
        "notebook.ipynb",
        "range test, search, trials as a table and as pictures, a verdict, and training with what was found",
        "jupyter execute --inplace examples/notebook.ipynb",
    ),
)


HEAD = """# Examples

Each is one file, downloads nothing, and runs to its end within two minutes on two CPU cores. Copy the
one that is nearest to what you have. The scripts take a budget from the command line, and keep their
studies in `lrsearch.db`, where you look at them afterwards:

```sh
python examples/regression.py --trials 8 --epochs 5
lrsearch status
```

The training script is run by a worker, for each trial once more:

```sh
{worker} --trials 2
lrsearch best training_script
```

The notebook is for Jupyter; its outputs are those of `{notebook}`.

| example | what it shows | lines | seconds |
| --- | --- | ---: | ---: |"""
TAIL = """
Lines are those that are not empty, data and model among them. Seconds are those of one run with the
default budget, imports included, measured by `python -m benchmarks.examples` on {cores} CPU cores."""


def seconds(example: Example) -> float:
    """Run an example with its default budget, and return how long that took.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    environment.pop("LRSEARCH_STORAGE", None)
    words = shlex.split(example.command_line)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "examples", Path(folder) / "examples")
        started = time.perf_counter()
        subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    """Print the page."""
    commands = {example.path.suffix: example.command for example in EXAMPLES if example.command}
    print(HEAD.format(worker=commands[".py"], notebook=commands[".ipynb"]))
    for example in EXAMPLES:
        print(example.row, f"{seconds(example):.0f} |", flush=True)
    print(TAIL.format(cores=os.cpu_count()))


if __name__ == "__main__":
    main()
