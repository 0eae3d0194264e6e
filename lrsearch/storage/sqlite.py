"""SQLite connections: as several processes need them, and such as change nothing."""

import sqlite3
from pathlib import Path
from typing import Any


class WriteAheadConnection(sqlite3.Connection):
    """A connection whose readers do not block writers, and the other way round.

    Write-ahead logging lasts in the file once set; ``synchronous=NORMAL`` belongs to each connection. It may
    lose the last commits when the machine (not the process) dies, and never breaks the file
    (https://sqlite.org/wal.html). Both are set while the connection is made, so that none goes without.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        try:
            if self.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                self.execute("PRAGMA journal_mode=WAL").fetchone()
            self.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            self.close()
            raise


class ReadOnlyConnection(sqlite3.Connection):
    """A connection that changes nothing, and makes no file where there is none.

    Args:
        database: path of the file.
    """

    def __init__(self, database: str, **options: Any) -> None:
        # Only a URI takes the mode (https://sqlite.org/uri.html).
        super().__init__(f"{Path(database).absolute().as_uri()}?mode=ro", uri=True, **options)
