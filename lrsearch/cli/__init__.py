"""The command line: parses, calls down, prints."""

from lrsearch.cli.app import main

__all__ = ["main"]
