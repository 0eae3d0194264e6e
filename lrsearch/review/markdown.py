"""Text that users named, made safe for pages that render Markdown and HTML."""

import re
from string import punctuation

_PUNCTUATION = re.compile(f"[{re.escape(punctuation)}]")
# What GitHub's flavour of Markdown makes a link of, escaped or not.
_ADDRESS = re.compile(r"://|www\.|@", re.IGNORECASE)


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it stands, on one line; as code where it holds an address."""
    line = _in_one_line(text)
    return code(line) if _ADDRESS.search(line) else _PUNCTUATION.sub(r"\\\g<0>", line)


def code(text: str) -> str:
    """Return a text as Markdown's code within a line: nothing in it is a link, an image or HTML."""
    line = _in_one_line(text)
    fence = "`" * (_longest_run(line) + 1)
    # Markdown takes one space off on both sides, so that the text itself may begin or end with a backtick.
    space = " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"


def code_block(language: str, text: str) -> str:
    """Return lines as Markdown's block of code, which nothing in them ends."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _in_one_line(text: str) -> str:
    # A line's end could begin a heading or a list, and a direction mark would turn what follows around.
    return "".join(character if character.isprintable() else " " for character in text).strip()
