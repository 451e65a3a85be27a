"""What a person sees of a run: which step began, what it has to say, and how long it took."""

import time
from pathlib import Path
from typing import TextIO

from healthrisk.steps.events import Event, Reader


class Progress:
    """Shows a person what the steps report."""

    def __init__(self, events: Path, steps: int, terminal: TextIO) -> None:
        self._reader, self._steps, self._terminal = Reader(events), steps, terminal
        self._numbers: dict[str, str] = {}
        self._started: dict[str, float] = {}
        self._shown = ""
        self.last: dict[str, Event] = {}

    def start(self, step: str) -> None:
        """Note when a step was started: what it takes to start a process counts, too."""
        self._started[step] = time.monotonic()

    def show(self) -> None:
        """Print what was reported since the last call."""
        for event in self._reader.read():
            self.last[event.step] = event
            if event.kind == "began":
                self._numbers[event.step] = f"[{len(self._numbers) + 1}/{self._steps}]"
                self._shown = ""
                self._say(event.step, event.step)
            elif event.kind == "said":
                self._say(event.step, event.text)
            else:
                took = time.monotonic() - self._started[event.step]
                self._say(event.step, f"{'done' if event.kind == 'ended' else 'failed'} in {took:.1f} s")

    def _say(self, step: str, text: str) -> None:
        """Print a line below its step, or with the step's number where another step's line stands above."""
        number = self._numbers[step]
        begin = " " * len(number) if step == self._shown else number
        print(f"{begin} {text}", file=self._terminal, flush=True)
        self._shown = step
