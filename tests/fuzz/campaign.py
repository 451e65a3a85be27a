"""A campaign of attacks on a transformer, its predictor and an explainer, and what is to be said of it."""

import asyncio
import contextlib
import os
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from healthrisk.bundle import Bundle
from healthrisk.serving.admission import Limits
from tests.fuzz.attacks import Arsenal, Attacker
from tests.fuzz.connections import Intruder
from tests.fuzz.contained import Contained
from tests.fuzz.target import Target
from tests.fuzz.watch import Watch
from tests.fuzz.wire import Tally

WORKERS = 8
# Attackers elsewhere would not take the servers' cores.
NICENESS = 5
# How often each server is attacked.
WEIGHTS = {"transformer.py": 3, "predictor.py": 1, "explainer.py": 1}
PROGRESS_SECONDS = 15.0
SIEGE_PAUSE_SECONDS = 20.0


@dataclass(frozen=True)
class Plan:
    """How much is sent: requests of all kinds, and among them of those that cost most."""

    requests: int
    heavy: int
    seed: int = 0

    def is_done(self, tally: Tally) -> bool:
        return tally.sent.total() >= self.requests and tally.sent["heavy"] >= self.heavy

    def wants_heavy(self, tally: Tally) -> bool:
        """Say whether fewer of those that cost most are sent than of the others."""
        return tally.sent["heavy"] * self.requests <= tally.sent.total() * self.heavy


@dataclass
class Outcome:
    """What came of a campaign; `lines` say what each server took."""

    tally: Tally
    watches: list[Watch]
    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(bundle: Path, folder: Path) -> Iterator[list[Contained]]:
    """Serve a bundle from three processes, each in its container's memory.

    Raises:
        NoCgroupError: no cgroup can be made.
    """
    with contextlib.ExitStack() as stack:

        def start(script: str, *options: str) -> Contained:
            one = Contained(script, bundle, folder, *options)
            stack.callback(one.end)
            return one

        predictor = start("predictor.py")
        host = f"--predictor_host=127.0.0.1:{predictor.server.ports[0]}"
        servers = [start("transformer.py", host), predictor, start("explainer.py", host)]
        for one in servers:
            one.server.wait()
        yield servers


def run(bundle: Path, folder: Path, plan: Plan) -> Outcome:
    """Serve, attack, and judge everything but times.

    Raises:
        NoCgroupError: no cgroup can be made.
    """
    arsenal = Arsenal.of(Limits.max_body_bytes, Limits.max_parsed_bytes)
    with serving(bundle, folder) as servers:
        targets = [Target.of(one.server, Bundle.open(bundle)) for one in servers]
        outcome = Outcome(Tally(), [Watch(target) for target in targets])
        try:
            with _giving_way():
                asyncio.run(_attack(targets, arsenal, outcome.tally, plan))
        except* OSError as errors:
            # What became of the server stands among its own faults.
            outcome.faults.append(f"a server cannot be reached: {errors.exceptions[0]!r}")
        except* KeyboardInterrupt:
            outcome.faults.append(f"interrupted after {outcome.tally.sent.total():,} requests")
        finally:
            for watch in outcome.watches:
                watch.end()
        for one, watch in zip(servers, outcome.watches, strict=True):
            outcome.lines += [one.report(), watch.report()]
            outcome.faults += one.faults() + watch.seen.faults
    outcome.faults += outcome.tally.faults
    answered = outcome.tally.codes["good"]
    if not answered["200"] or not answered["OK"]:
        outcome.faults.append(f"no good request was answered: {answered}")
    return outcome


@contextlib.contextmanager
def _giving_way() -> Iterator[None]:
    """Let this thread, and those that it starts, take what the servers leave of the machine."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(before, NICENESS))
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


async def _attack(targets: list[Target], arsenal: Arsenal, tally: Tally, plan: Plan) -> None:
    """Attack until the plan is carried out, or something is at fault."""
    body_bytes = Limits.max_body_bytes
    seeds = random.Random(plan.seed)
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(target.server.grpc, [("grpc.max_send_message_length", -1)])
            )
            for target in targets
        ]
        chosen = [WEIGHTS[target.server.script] for target in targets]

        async def work(seed: int) -> None:
            chance = random.Random(seed)
            attackers = [
                Attacker(target, arsenal, channel, tally, seed + place)
                for place, (target, channel) in enumerate(zip(targets, channels, strict=True))
            ]
            intruders = [Intruder(target, tally, seed, body_bytes) for target in targets]
            while not plan.is_done(tally) and not tally.faults:
                (place,) = chance.choices(range(len(targets)), chosen)
                if plan.wants_heavy(tally):
                    await attackers[place].heavy()
                    continue
                kinds = list((attackers[place].kinds() | intruders[place].kinds()).values())
                ((_, attack),) = chance.choices(kinds, [often for often, _ in kinds])
                await attack()
            for attacker in attackers:
                await attacker.close()

        besieged = [Intruder(target, tally, seeds.randrange(2**32), body_bytes) for target in targets]
        others = [asyncio.create_task(_besiege(besieged)), asyncio.create_task(_report(tally))]
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(work(seeds.randrange(2**32)))
        finally:
            for other in others:
                other.cancel()


async def _besiege(intruders: list[Intruder]) -> None:
    """Hold connections to one server after the other."""
    while True:
        for intruder in intruders:
            await intruder.siege()
            await asyncio.sleep(SIEGE_PAUSE_SECONDS)


async def _report(tally: Tally) -> None:
    """Say from time to time how far it is."""
    while True:
        print(f"{tally.sent.total():>9,} requests, {tally.sent['heavy']:,} of those that cost most", flush=True)
        await asyncio.sleep(PROGRESS_SECONDS)
