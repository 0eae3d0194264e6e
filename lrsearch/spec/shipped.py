"""The ready-to-run studies that come with lrsearch."""

from pathlib import Path

import lrsearch

DEFAULT_STUDY = "mnist-tpe"


def shipped_studies() -> dict[str, Path]:
    """Return the study files by name: the installed package's, else the checkout's."""
    package = Path(lrsearch.__file__).parent
    for folder in (package / "_studies", package.parent / "studies"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.toml"))}
    return {}
