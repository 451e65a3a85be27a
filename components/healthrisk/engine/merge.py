"""How states of fragments become the state of a table."""

from collections.abc import Callable, Iterable
from typing import TypeVar

State = TypeVar("State")


def merge(states: Iterable[State], join: Callable[[State, State], State]) -> State:
    """Join states, neighbours first, as a tree whose shape depends on their number alone.

    Sums of floating-point numbers are so rounded alike wherever the states come from. `join` gets the earlier state
    first and may alter it; at most log2 of their number are held at once.

    Raises:
        ValueError: there is no state.
    """
    # Each with the number of states it was made of: halves of a tree that wait for their other half.
    waiting: list[tuple[int, State]] = []
    for state in states:
        size = 1
        while waiting and waiting[-1][0] == size:
            state = join(waiting.pop()[1], state)  # noqa: PLW2901 - it grows
            size *= 2
        waiting.append((size, state))
    if not waiting:
        raise ValueError("no state to merge")
    _, merged = waiting.pop()
    while waiting:
        merged = join(waiting.pop()[1], merged)
    return merged
