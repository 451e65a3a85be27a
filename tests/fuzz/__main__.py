"""Attack a transformer, its predictor and an explainer, each in a memory cgroup of the shipped limit; then the service
that takes outcomes, with a tenth of the requests.

Ends with 1 if a request got a 500 or UNKNOWN, an answer was wrong, a server ended or its memory grew, if health took
more than a second, any answer more than ten, or an outcome was counted; with 2 if no memory cgroup can be made.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz import campaign, returned
from tests.fuzz.campaign import Outcome, Plan
from tests.fuzz.wire import Tally
from tests.support import sample_bundle
from tests.support.cgroup import NoCgroupError

# One in so many of the requests besides goes to the service of outcomes.
RETURNED = 10
HEALTH_SECONDS, HANG_SECONDS = 1.0, 10.0
# From the second quarter of the time to the last: a KiB for each of the transformer's requests would be 15.
GROWTH_MIB = 12.0
# These wait on purpose.
UNTIMED = frozenset({"slow", "held", "HTTP/2 by hand"})


def judge(outcome: Outcome) -> list[str]:
    """Return what took too long, and what grew."""
    slowest = {kind: took for kind, took in outcome.tally.slowest.items() if kind not in UNTIMED}
    faults = [f"{kind} took {took:.1f} s" for kind, took in slowest.items() if took > HANG_SECONDS]
    for watch in outcome.watches:
        if max(watch.seen.seconds) > HEALTH_SECONDS:
            faults.append(f"health of {watch.script} took {max(watch.seen.seconds):.2f} s")
        if watch.growth() > GROWTH_MIB:
            faults.append(f"{watch.script} grew by {watch.growth():.0f} MiB")
    return faults


def show(tally: Tally, lines: list[str]) -> None:
    for kind, count in tally.sent.most_common():
        codes = ", ".join(f"{code} {number:,}" for code, number in tally.codes[kind].most_common())
        print(f"{kind}: {count:,} sent; the slowest took {tally.slowest[kind]:.2f} s; answers: {codes}")
    print("\n".join(lines))


def main() -> int:
    """Read the command line, attack, and print what came back."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000, help="of all kinds, at least")
    parser.add_argument("--heavy", type=int, default=10_000, help="bodies that cost most, among them")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="healthrisk-fuzz-") as name:
        folder = Path(name)
        bundle = sample_bundle.build("heart-disease", "random_forest", folder)
        try:
            outcome = campaign.run(bundle, folder, Plan(args.requests, args.heavy, args.seed))
            outcomes = returned.run(bundle, folder, args.requests // RETURNED, args.seed)
        except NoCgroupError as error:
            print(error, file=sys.stderr)
            return 2
    show(outcome.tally, outcome.lines)
    show(outcomes.tally, [outcomes.line])
    faults = outcome.faults + judge(outcome) + outcomes.faults
    sent = outcome.tally.sent.total() + outcomes.tally.sent.total()
    print("\n".join(f"AT FAULT: {fault}" for fault in faults) or f"{sent:,} requests, no fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
