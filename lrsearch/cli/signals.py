"""Turns Ctrl-C and SIGTERM into a wish that the loop grants at the next epoch's end."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = "Stopping at the end of this epoch; once more stops at once."


@contextmanager
def stop_on_signal(announcement: str = STOPPING) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether the user wants to stop; the second signal stops at once.

    Args:
        announcement: what the first signal prints.

    Raises:
        KeyboardInterrupt: inside the block, on the second signal.
    """
    received: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        print(f"\n{announcement}", file=sys.stderr)  # noqa: T201 # to the user

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
