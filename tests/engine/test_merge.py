"""Merging: a tree of one shape, few states at once."""

import itertools

import pytest

from healthrisk import engine


def test_neighbours_are_joined_first_whatever_yields_them() -> None:
    assert engine.merge(iter("abcdefg"), lambda one, other: f"({one}{other})") == "(((ab)(cd))((ef)g))"
    assert engine.merge("a", lambda one, other: one + other) == "a"


def test_few_states_are_held_at_once() -> None:
    most = 0

    class State:
        living = 0

        def __init__(self) -> None:
            nonlocal most
            State.living += 1
            most = max(most, State.living)

        def __del__(self) -> None:
            State.living -= 1

    engine.merge((State() for _ in range(1000)), lambda one, other: State())
    assert most <= 14


def test_nothing_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="no state"):
        engine.merge(iter(()), lambda one, other: one)


def test_in_this_process_items_are_read_when_their_turn_comes() -> None:
    with engine.connect() as tasks:
        assert list(itertools.islice(tasks.map(str, itertools.count()), 3)) == ["0", "1", "2"]
