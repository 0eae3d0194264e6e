"""The reference of the command line, made from the commands themselves, in place of a comment of a page."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from lrsearch.cli.app import app as command_line

if TYPE_CHECKING:  # tests read the reference where Sphinx is not installed
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

PLACE = "<!-- every command -->"
EXAMPLE = re.compile(r"^Examples?(: |$)")
FACTS = re.compile(r"  \[([^\[\]]*)\]$")  # what Typer adds: a default, limits, whether it is required
SPECIAL = re.compile(r"([\\`*_<>|{}\[\]])")


def setup(app: "Sphinx") -> "ExtensionMetadata":
    """Fill the place in each page that has it."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill(_app: "Sphinx", _page: str, source: list[str]) -> None:
    """Replace the comment by the reference, in Markdown."""
    if PLACE in source[0]:
        source[0] = source[0].replace(PLACE, command_reference())


def command_reference() -> str:
    """Return a section for each command, in Markdown."""
    root = typer.main.get_command(command_line)
    return "\n".join(
        line for words, command in commands("lrsearch", root) for line in section(words, command)
    )


def commands(words: str, group: Any) -> Iterator[tuple[str, Any]]:
    """Return all commands, and groups of them before their members, with the words that call them."""
    for name, command in group.commands.items():
        yield f"{words} {name}", command
        if hasattr(command, "commands"):
            yield from commands(f"{words} {name}", command)


def section(words: str, command: Any) -> Iterator[str]:
    """Return a command's title, what it does, how it is called, examples, and its parameters."""
    paragraphs, examples = told(command.help or "")
    yield from (f"## {words}", "")
    for paragraph in paragraphs:
        yield from (paragraph, "")
    if hasattr(command, "commands"):
        return
    context = command.make_context(words.partition(" ")[2], [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```text", f"{words} {usage}", "```", "")
    if examples:
        yield from ("```sh", *examples, "```", "")
    yield from ("| | default | |", "| --- | --- | --- |")
    yield from (row(parameter, context) for parameter in command.params)
    yield ""


def told(help_text: str) -> tuple[list[str], list[str]]:
    """Return a help text's paragraphs in Markdown, and its examples as lines of a shell."""
    paragraphs, examples = [], []
    in_examples = False
    for paragraph in help_text.split("\n\n"):
        plain = Text.from_markup(paragraph).plain.strip()
        in_examples = in_examples or EXAMPLE.match(plain) is not None
        if not in_examples:
            paragraphs.append(markdown(" ".join(paragraph.split())))
        elif example := EXAMPLE.sub("", plain):
            examples.append(example.replace(" #", "  #"))
    return paragraphs, examples


def row(parameter: Any, context: Any) -> str:
    """Return a parameter's line of the table: how it is written, its default, what it means."""
    written, meaning = parameter.get_help_record(context)
    added = FACTS.search(meaning)
    facts = added[1].split("; ") if added else []
    defaults = [f"`{fact.removeprefix('default: ')}`" for fact in facts if fact.startswith("default: ")]
    bounds = "".join(f" ({markdown(fact)})" for fact in facts if "=" in fact and fact[:8] != "default:")
    shown = "required" if parameter.required else "".join(defaults)
    written = written.replace("|", "\\|")  # it would end the cell
    return f"| `{written}` | {shown} | {markdown(FACTS.sub('', meaning))}{bounds} |"


def markdown(marked_up: str) -> str:
    """Return text with Rich's markup in Markdown: what is bold there is a name."""
    text = Text.from_markup(marked_up)
    names = sorted((span.start, span.end) for span in text.spans)
    parts, position = [], 0
    for start, end in names:
        parts += [SPECIAL.sub(r"\\\1", text.plain[position:start]), f"`{text.plain[start:end]}`"]
        position = end
    return "".join([*parts, SPECIAL.sub(r"\\\1", text.plain[position:])])
