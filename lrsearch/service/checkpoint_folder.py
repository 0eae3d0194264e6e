"""Where checkpoints lie."""

import os
import time
from pathlib import Path

import platformdirs

from lrsearch.storage.address import StorageAddress

FOLDER_VARIABLE = "LRSEARCH_CHECKPOINT_DIR"
STALE_S = 3600.0  # files that no slot names may have just been written by others: they stay for so long


def checkpoint_folder(address: StorageAddress, directory: str | None = None) -> Path:
    """Return the folder of all checkpoints of a database's studies.

    Args:
        address: the database.
        directory: ``run.checkpoint_dir``; else the environment variable ``LRSEARCH_CHECKPOINT_DIR`` counts,
            else a SQLite file has a folder beside it, and PostgreSQL one in the user's cache folder.
    """
    given = directory or os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given).expanduser()
    if address.path is not None:
        return address.path.with_name(f"{address.path.name}.checkpoints")
    return platformdirs.user_cache_path("lrsearch") / "checkpoints"


def is_stale(path: Path) -> bool:
    """Return whether a file is too old to have just been written, and not been named yet."""
    return time.time() - path.stat().st_mtime > STALE_S
