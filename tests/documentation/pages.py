"""The pages that make promises, cut into their fenced blocks."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    sorted(
        [
            ROOT / "README.md",
            ROOT / "CONTRIBUTING.md",
            ROOT / "deploy" / "README.md",
            *(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
        ]
    )
)
RUN = ("sh", "python", "toml")
SHOWN = ("", "text", "json", "math")  # output, and what is only to be read
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        language: what stands behind the fence, such as ``"sh"``; empty if nothing does.
        text: its lines.
        line: the number of its first line in the page, from 1.
    """

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that the block is, which its first line says in a comment."""
        named = re.match(r"# ([\w./-]+\.(?:py|toml))\n", self.text)
        return named[1] if named else None

    @property
    def commands(self) -> list[str]:
        """The command lines of a shell block, without comments; a backslash joins two lines."""
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]

    def with_text(self, text: str) -> "Block":
        """Return the block with other lines."""
        return replace(self, text=text)


def name_of(page: Path) -> str:
    """Return a page's path from the root, as the tables in ``deviations.py`` and test identifiers have it."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """Return a page's fenced blocks in their order, without the indentation of a list around them."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found[2].strip(),
            re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE),
            text[: found.start(3)].count("\n") + 1,
        )
        for found in FENCE.finditer(text)
    ]
