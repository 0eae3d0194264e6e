"""PostgreSQL sessions as many workers need them: none keeps the others waiting for ever."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

# The statements of a transaction follow each other within milliseconds. Who pauses is suspended, or out of
# reach, and holds locks that others need; the server would wait for hours.
LONGEST_PAUSE_S = 30.0


def limit_pauses(engine: sa.Engine) -> None:
    """Let the server end a session that pauses within a transaction, in all connections from now on.

    Its transaction is undone, and repeated as any that loses its connection is, should its process wake up.

    Args:
        engine: of any database; nothing happens to SQLite's.
    """
    if engine.dialect.name != "postgresql":
        return

    def limit(connection: Any, _record: Any) -> None:
        # Not among the parameters of the connection, some of which connection poolers refuse.
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = {int(1000 * LONGEST_PAUSE_S)}")
        connection.commit()

    event.listen(engine, "connect", limit)
    engine.dispose()  # those that are open already
