"""``python -m lrsearch``."""

from lrsearch.cli import main

main()
