"""Hides the passwords of storage URLs wherever one is shown."""

import re
from collections.abc import Sequence


def masked(url: str) -> str:
    """Return a URL, well-formed or not, without its password."""
    text = re.sub(r"^((?:[\w+.-]+:?//)?+[^:/@]*+):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&]*pass[^=&]*=)[^&]*", r"\1***", text)


def masked_arguments(words: Sequence[str]) -> list[str]:
    """Return a command line without the passwords of the URLs in it, alone or after ``=``."""
    return [_masked_argument(word) for word in words]


def _masked_argument(word: str) -> str:
    option, equals, value = word.partition("=")
    if option.startswith("--") and equals:
        return f"{option}={masked(value)}" if "//" in value else word
    return masked(word) if "//" in word else word
