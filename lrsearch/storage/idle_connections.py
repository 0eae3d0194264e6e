"""Tests connections that have lain idle before they are used, and no others: it costs as much as a query."""

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

IDLE_S = 5.0

_RETURNED_S = "lrsearch:returned_s"


def check_idle_connections(engine: sa.Engine) -> None:
    """Replace connections of a pool that were lost while they lay idle, from now on.

    One that is lost between two uses that follow each other fails in the second one, which is repeated as
    any call that loses its connection is.

    Args:
        engine: whose pool it is.
    """

    def note_return(_connection: Any, record: Any) -> None:
        record.info[_RETURNED_S] = time.monotonic()

    def test(connection: Any, record: Any, _proxy: Any) -> None:
        returned_s = record.info.get(_RETURNED_S)
        if returned_s is None or time.monotonic() - returned_s < IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise exc.DisconnectionError from error  # the pool takes another one

    event.listen(engine, "checkin", note_return)
    event.listen(engine, "checkout", test)
