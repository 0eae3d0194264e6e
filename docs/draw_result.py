"""Draws ``docs/result.svg``: what ``lrsearch show digits-tpe`` prints after ``make search``.

Run it with ``python docs/draw_result.py`` from the root of the project.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 140
ROOT = Path(__file__).parent.parent


def main() -> None:
    """Search, show, draw."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "LRSEARCH_STORAGE": f"sqlite:///{folder}/result.db",
            "COLUMNS": str(COLUMNS),
        }
        lrsearch = [sys.executable, "-m", "lrsearch"]
        study = str(ROOT / "studies" / "digits-tpe.toml")
        subprocess.run([*lrsearch, "optimize", study, "--quiet"], env=environment, check=True)
        shown = subprocess.run(
            [*lrsearch, "show", "digits-tpe"], env=environment, check=True, capture_output=True, text=True
        )
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text("$ lrsearch show digits-tpe", style="bold green"))
    console.print(Text(shown.stdout))
    picture = console.export_svg(title="lrsearch", theme=MONOKAI)
    without_remote_fonts = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    (ROOT / "docs" / "result.svg").write_text(without_remote_fonts)


if __name__ == "__main__":
    main()
