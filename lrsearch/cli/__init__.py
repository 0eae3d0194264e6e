"""The command line: parses, calls down, prints."""

from lrsearch.cli.process_title import hide_passwords


def main() -> None:
    """Run the command line of this process."""
    hide_passwords()  # before anything else is imported, as that takes a while
    from lrsearch.cli.app import main as run

    run()


__all__ = ["main"]
