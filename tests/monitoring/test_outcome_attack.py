"""A slice of what `make fuzz` sends to the service of outcomes, in its container's memory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import returned
from tests.support.cgroup import NoCgroupError

pytestmark = pytest.mark.slow


def test_hostile_outcomes_change_no_count(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    try:
        outcome = returned.run(make_bundle(), tmp_path, requests=600)
    except NoCgroupError as error:
        pytest.skip(str(error))
    assert not outcome.faults
    assert set(outcome.tally.sent) == {
        "repeated receipts",
        "contradicting outcomes",
        "forged receipts",
        "altered receipts",
        "mutated outcomes",
        "heavy outcomes",
    }
