"""Pages are cut into blocks as readers see them, and a block that fails fails its page."""

import pytest

from tests.documentation import execution
from tests.documentation.deviations import NOT_RUN
from tests.documentation.execution import PageRun
from tests.documentation.pages import Block, blocks_of


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a page of these blocks, each a language and lines, and return what it defined and its folder."""

    def run_page(*blocks):
        page = tmp_path / "page.md"
        page.write_text("".join(f"Words.\n\n```{language}\n{text}\n```\n\n" for language, text in blocks))
        monkeypatch.setattr(execution, "name_of", lambda page: page.name)
        (tmp_path / "folder").mkdir()
        ran = PageRun(page, tmp_path / "folder", monkeypatch)
        ran.prepare()
        ran.run()
        return ran.namespace, ran.folder

    return run_page


def test_a_block_within_a_list_is_read_without_its_indentation(tmp_path):
    """With its language and its place in the page."""
    (tmp_path / "page.md").write_text("# Title\n\n- a\n\n  ```sh\n  one\n\n  two\n  ```\n\n```\nshown\n```\n")
    assert blocks_of(tmp_path / "page.md") == [Block("sh", "one\n\ntwo\n", 6), Block("", "shown\n", 12)]


def test_commands_lose_comments_and_gain_their_continuation():
    """As a shell reads them."""
    assert Block("sh", "# first\none  # why\ntwo \\\n  --more\n\n", 1).commands == ["one", "two --more"]


def test_a_first_line_names_a_file():
    """In Python and TOML, with a folder if it says so; other comments name none."""
    assert Block("python", "# src/model.py\nx = 1\n", 1).file == "src/model.py"
    assert Block("toml", "# net.toml\n", 1).file == "net.toml"
    assert Block("python", "# a comment on model.py\n", 1).file is None


def test_python_goes_on_where_the_block_before_it_ended(run):
    """A named block is a file, too, that later blocks and commands find."""
    namespace, folder = run(
        ("python", "# given.py\nx = 20"),
        ("python", "import given\ny = given.x + x"),
        ("sh", "test -f given.py"),
    )
    assert namespace["y"] == 40
    assert (folder / "given.py").read_text() == "# given.py\nx = 20\n"


def test_a_script_is_run_by_its_command_alone(run):
    """A file that a command starts is not run a second time on the page's own."""
    _namespace, folder = run(
        ("python", "# script.py\nprint('once', file=open('runs', 'a'))"), ("sh", "python script.py")
    )
    assert (folder / "runs").read_text() == "once\n"


def test_variables_hold_for_the_commands_that_follow(run):
    """Until they are unset."""
    run(("sh", 'export A=1\ntest "$A" = 1\nunset A\ntest -z "$A"'))


@pytest.mark.parametrize(
    ("language", "text", "error"),
    [
        ("sh", "lrsearch show nothing", AssertionError),
        ("sh", "lrsearch show nothing | cat; false", AssertionError),
        ("sh", "no-such-program", AssertionError),
        ("python", "1 / 0", ZeroDivisionError),
        ("toml", "[space]\nspeed = 1", ValueError),
    ],
)
def test_a_block_that_fails_fails_its_page(run, language, text, error):
    """A command that is refused or missing, Python that raises, keys that no study file has."""
    with pytest.raises(error):
        run((language, text))


def test_what_cannot_run_is_left_out_by_its_first_words_alone(run):
    """Not by a word that begins like it."""
    assert "make" in NOT_RUN
    run(("sh", "make no-such-target"))


def test_a_program_whose_name_begins_like_one_that_cannot_run_is_run(run):
    """And fails here, because there is none."""
    with pytest.raises(AssertionError, match="makefoo"):
        run(("sh", "makefoo"))
