"""A slice of what `make fuzz` sends: hostile requests of every kind at servers in their containers' memory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import campaign
from tests.support.cgroup import NoCgroupError

pytestmark = pytest.mark.slow


def test_a_slice_of_the_attack(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    try:
        outcome = campaign.run(make_bundle(), tmp_path, campaign.Plan(requests=900, heavy=24))
    except NoCgroupError as error:
        pytest.skip(str(error))
    assert not outcome.faults
    assert {"good", "heavy", "smuggling", "mutated JSON", "mutated binary", "mutated message"} <= set(
        outcome.tally.sent
    )
