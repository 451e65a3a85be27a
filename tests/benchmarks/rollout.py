"""What becomes of requests through an Envoy while a challenger comes in and goes back, again and again.

python -m tests.benchmarks.rollout [--requests 100000]

Prints how many were answered, lost or changed, and how long the moves took until Envoy went by them.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from healthrisk.bundle import Bundle
from healthrisk.deployment import deploy, rollout
from healthrisk.deployment.rollout import Patience
from healthrisk.deployment.rollout_plan import Plan
from tests.support import sample_bundle
from tests.support.flow import NAME, flowing, proxied
from tests.support.patience import ANSWER
from tests.support.two_versions import register, served

SOON = Patience(ready=ANSWER, grace=ANSWER, routed=ANSWER, settled=1.0)
PLAN = Plan(hold_seconds=0, weights=(10, 50, 100), sticky="x-caller")


def main() -> None:
    """Move a rollout to and fro until so many requests are answered; then promote, and roll back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="healthrisk-rollout-") as name:
        os.environ["HEALTHRISK_HOME"], folder = name, Path(name)
        families = ("logistic_regression", "random_forest")
        bundles = [Bundle.open(sample_bundle.build(NAME, family, folder / family)) for family in families]
        with served(bundles, folder) as pairs:
            urls = {key: pair.transformer.url for key, pair in pairs.items()}
            measure(bundles, urls, folder, args.requests)


def measure(bundles: list[Bundle], urls: dict[str, str], folder: Path, requests: int) -> None:
    """Print what became of so many requests at least."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    with proxied(urls, register(bundles), folder / "envoy") as cluster, flowing(cluster, bundles[0], urls) as traffic:

        def move(what: str, act: Callable[[], object]) -> None:
            began = time.monotonic()
            act()
            cluster.wait_routed(NAME, ANSWER)
            seconds[what].append(time.monotonic() - began)
            traffic.look(200)

        while traffic.total() < requests:
            move("start", lambda: rollout.start(cluster, NAME, "2", PLAN, SOON))
            for _ in PLAN.weights[1:]:
                move("step", lambda: rollout.step(cluster, NAME, lambda *_: (), SOON))
            move("abort", lambda: rollout.abort(cluster, NAME, patience=SOON))
        whole = Plan(hold_seconds=0, weights=(100,))
        move("start", lambda: rollout.start(cluster, NAME, "2", whole, SOON))
        move("promote", lambda: rollout.promote(cluster, NAME, lambda *_: (), urls["second"], SOON))
        move("rollback", lambda: deploy.rollback(cluster, NAME))
    print(f"{traffic.total():,} requests, none lost or changed, during {sum(map(len, seconds.values()))} moves")
    for what, took in seconds.items():
        print(f"{what}: {len(took)}, the slowest {max(took):.2f} s")


if __name__ == "__main__":
    main()
