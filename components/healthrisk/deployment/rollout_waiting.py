"""A rollout followed to its end by one who waits: stepped again and again, whoever is away in between."""

import sys
import time
from collections.abc import Callable

from healthrisk.deployment.cluster import ClusterError
from healthrisk.deployment.rollout_status import PROMOTE, RolloutStatus
from healthrisk.errors import SourceError, StoreError

LOOK_SECONDS = 15.0


def step_until_over(step: Callable[[], RolloutStatus], seconds: float = LOOK_SECONDS) -> RolloutStatus:
    """Step, so many seconds apart, until the challenger may be promoted or has no requests any more.

    Says on the error stream what is waited for. Whoever is away for a moment comes back; nothing moves until then.

    Raises:
        RolloutError: no rollout is under way, or somebody has ended it meanwhile.
    """
    while True:
        try:
            status = step()
        except (ClusterError, SourceError, StoreError) as error:
            sys.stderr.write(f"{error}\n")
        else:
            if status.rollout.phase == "returned" or status.next == PROMOTE:
                return status
            sys.stderr.write(f"{status.next}\n")
        time.sleep(seconds)
