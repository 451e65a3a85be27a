"""A deadline: what happens after a time unless it is called off before."""

import asyncio
from collections.abc import Callable
from typing import Any


class Deadline:
    """One at a time; within a running event loop."""

    __slots__ = ("_timer",)

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether it was set, and not called off since."""
        return self._timer is not None

    def set(self, seconds: float, act: Callable[..., Any], *words: Any) -> None:
        """Let something be done after so many seconds, in place of what was to be done before."""
        self.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, act, *words)

    def cancel(self) -> None:
        """Call it off, if it is set."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
