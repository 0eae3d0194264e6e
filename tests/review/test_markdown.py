"""What users named is neither Markdown nor HTML: markdown-it, a parser of CommonMark, is the oracle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lrsearch.review.markdown import code, code_block, escaped

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
TEXTS = st.text(st.sampled_from("`~#*_<>[]()!|\\$&;:/@.-+=1aw \n\t\u202e") | st.characters(codec="utf-8"))
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "![i](http://evil.example/x.png)",
    "[link](javascript:alert(1))",
    "http://evil.example",
    "www.evil.example",
    "a@evil.example",
    "# Title\n\n- list",
    "``` \n<b>",
    "1. one",
    "a\n---",
    "| a |\n|--|\n| b |",
    "$x$",
    "&lt;b&gt;",
]


def on_one_line(text):
    """Return a text without what would end a line or turn it around."""
    return "".join(character if character.isprintable() else " " for character in text).strip()


def inline(markdown):
    """Return what a paragraph holds: type and content of each part of it."""
    opening, paragraph, closing = PARSER.parse(markdown)
    assert (opening.type, closing.type) == ("paragraph_open", "paragraph_close")
    return [(part.type, part.content) for part in paragraph.children]


@given(TEXTS.filter(on_one_line))
def test_code_shows_a_text_as_it_stands(text):
    """As one piece of code, in the middle of a sentence."""
    assert inline(f"a {code(text)} b") == [
        ("text", "a "),
        ("code_inline", on_one_line(text)),
        ("text", " b"),
    ]


@given(TEXTS.filter(on_one_line))
def test_an_escaped_text_is_shown_as_it_stands(text):
    """As text, or as code where Markdown would make a link of it; at the beginning of a line."""
    parts = inline(escaped(text))
    assert {kind for kind, _content in parts} <= {"text", "code_inline"}
    assert "".join(content for _kind, content in parts) == on_one_line(text)


@given(TEXTS.map(lambda text: text.replace("\r", "")).filter(str.strip))
def test_nothing_ends_a_block_of_code_but_its_end(text):
    """Whatever stands in it."""
    block, *rest = PARSER.parse(code_block("python", text))
    assert (block.type, block.info, rest) == ("fence", "python", [])
    assert block.content == PARSER.parse(code_block("", text))[0].content


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_make_no_element(text):
    """No link, image, heading, list, table or HTML."""
    for written in (escaped(text), code(text)):
        assert {kind for kind, _content in inline(written)} <= {"text", "code_inline"}


def test_addresses_stand_in_code():
    """GitHub's flavour makes links of them, escaped or not."""
    for text in ("http://evil.example", "www.evil.example", "a@evil.example"):
        assert inline(escaped(f"see {text}")) == [("code_inline", f"see {text}")]
