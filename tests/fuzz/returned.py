"""Attacks on the service that takes outcomes: whatever comes, no 500, and the counts stay what they were."""

import asyncio
import gzip
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from healthrisk.bundle import Bundle
from healthrisk.inference.scorer import Scorer
from healthrisk.monitoring.outcome_app import PATH
from healthrisk.monitoring.outcome_service import LIMITS
from healthrisk.monitoring.outcome_store import Cell, OutcomeStore
from healthrisk.receipts.token import Issuer
from tests.fuzz.attacks import WRAPPING, dump
from tests.fuzz.wire import Clock, Connection, Tally, head
from tests.support import heavy, http, sample_bundle
from tests.support.cgroup import MemoryGroup
from tests.support.mutation import mutated_body
from tests.support.outcomes import KEY, OutcomeService, link_bundle, outcomes_of
from tests.support.servers import ROOT

WORKERS = 8
DEPLOYMENT = ROOT / "manifests" / "outcomes" / "deployment.yaml"
OTHER_KEY = b"another-key-of-thirty-two-letters"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass
class Outcome:
    """What came of it: requests by kind, and what was at fault; `line` says what the service took."""

    tally: Tally = field(default_factory=Tally)
    faults: list[str] = field(default_factory=list)
    line: str = ""


class Attacker:
    """Attacks one service over a connection that is kept, with receipts that were counted before."""

    def __init__(
        self,
        port: int,
        bodies: list[bytes],
        counted: list[dict[str, Any]],
        forged: list[str],
        tally: Tally,
        seed: int,
    ) -> None:
        self._connection, self._tally, self._chance = Connection(port), tally, random.Random(seed)
        self._bodies, self._counted, self._forged = bodies, counted, forged

    async def attack(self) -> None:
        """Send one request of a kind drawn at random."""
        kinds: dict[Callable[[], Awaitable[None]], int] = {
            self.repeated: 20,
            self.contradicting: 20,
            self.forged: 20,
            self.altered: 20,
            self.mutated: 60,
            self.heavy: 5,
        }
        (kind,) = self._chance.choices(list(kinds), list(kinds.values()))
        await kind()

    async def close(self) -> None:
        await self._connection.close()

    async def repeated(self) -> None:
        """Send what was counted, some of it many times; it is answered by 200, or by that there is no room."""
        some = self._chance.choices(self._counted, k=self._chance.randrange(1, 30))
        answer = await self._post("repeated receipts", dump({"outcomes": some}), {200, 503})
        if b'"counted":0' not in answer and b"error" not in answer:
            self._tally.faults.append(f"repeated receipts: {answer!r}")

    async def contradicting(self) -> None:
        """Send what was counted with another outcome."""
        some = [{**one, "outcome": 0 if one["outcome"] else 1} for one in self._chance.sample(self._counted, 5)]
        await self._post("contradicting outcomes", dump({"outcomes": some}), {400, 503})

    async def forged(self) -> None:
        """Send receipts of another key."""
        some = [{"receipt": one, "outcome": 1} for one in self._chance.sample(self._forged, 5)]
        await self._post("forged receipts", dump({"outcomes": some}), {400, 503})

    async def altered(self) -> None:
        """Send a receipt of which a letter is another, or of which some are missing."""
        one = self._chance.choice(self._counted)
        text, place = one["receipt"], self._chance.randrange(len(one["receipt"]))
        other = self._chance.choice(ALPHABET.replace(text[place], ""))
        texts = [text[:place] + other + text[place + 1 :], text[:place], text * self._chance.randrange(2, 40)]
        document = {"outcomes": [{**one, "receipt": self._chance.choice(texts)}]}
        await self._post("altered receipts", dump(document), {400, 503})

    async def mutated(self) -> None:
        """Send what was counted with parts of it changed, nested, doubled or left out, or some bytes changed."""
        document = {"outcomes": [dict(one) for one in self._chance.sample(self._counted, 3)]}
        body = mutated_body(document, self._chance)
        await self._post("mutated outcomes", body, {200, 400, 413, 503})

    async def heavy(self) -> None:
        """Send a body of full size that becomes as large as it can, as it is, as outcomes, or packed."""
        body, form = self._chance.choice(self._bodies), self._chance.randrange(3)
        if form == 1:
            body = b'{"outcomes":%b}' % body
        packed = gzip.compress(body, 1) if form == 2 else body
        more = "content-encoding: gzip\r\n" if form == 2 else ""
        await self._post("heavy outcomes", packed, {400, 413, 415, 503}, more)

    async def _post(self, kind: str, body: bytes, allowed: set[int], more: str = "") -> bytes:
        clock = Clock()
        message = head("POST", PATH, len(body), f"content-type: application/json\r\n{more}") + body
        code, answer = await self._connection.ask(message)
        self._tally.count(kind, code, clock.read())
        # Of more connections than it takes the service closes some.
        if code not in {*allowed, 0}:
            self._tally.faults.append(f"{kind}: {code} {answer[:200]!r}")
        return answer


def run(path: Path, folder: Path, requests: int, seed: int = 0) -> Outcome:
    """Serve in a container's memory, count every other outcome, attack with so many requests, and compare the counts.

    Raises:
        NoCgroupError: no cgroup can be made.
    """
    bundle, outcome = Bundle.open(path), Outcome()
    link_bundle(folder, bundle)
    address = f"sqlite:///{folder / 'outcomes.db'}"
    own = {"HEALTHRISK_HOME": str(folder), "HEALTHRISK_OUTCOMES": address, "HEALTHRISK_RECEIPT_KEY": KEY}
    group = MemoryGroup("outcomes", limit := shipped_limit())
    service = OutcomeService("outcome-service", folder, folder / "outcomes.log", environment=own).start()
    try:
        group.add(service.pid)
        service.wait()
        known = outcomes_of(bundle)[::2]
        http.post(service.outcomes_url, json={"outcomes": known}).raise_for_status()
        before = counts(address, bundle)
        asyncio.run(_attack(service.ports[0], known, bundle, outcome.tally, requests, seed))
        outcome.faults += [*outcome.tally.faults, *_faults(service, group)]
        if (after := counts(address, bundle)) != before:
            outcome.faults.append(f"of {sum(before.values())} counts {sum(after.values())} were made")
        if (answer := http.post(service.outcomes_url, json={"outcomes": known})).status_code != 200:
            outcome.faults.append(f"what was counted is not known any more: {answer.text[:200]}")
        outcome.line = f"outcome-service: {group.peak() / 2**20:.0f} of {limit / 2**20:.0f} MiB at the most"
    finally:
        service.end()
        group.remove()
    return outcome


def shipped_limit() -> int:
    """Return the memory that the service's container may take, in bytes."""
    (container,) = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["spec"]["containers"]
    limit: str = container["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Mi")) * 2**20


def counts(address: str, bundle: Bundle) -> dict[Cell, int]:
    """Return what a database has counted of a bundle's model."""
    store = OutcomeStore(address)
    try:
        return store.counts(bundle.spec.name)
    finally:
        store.close()


async def _attack(
    port: int, known: list[dict[str, Any]], bundle: Bundle, tally: Tally, requests: int, seed: int
) -> None:
    size = LIMITS.max_body_bytes - WRAPPING
    bodies = [*heavy.weightiest(size, LIMITS.max_parsed_bytes).values(), bytes(16 * size), b"[" * 16 * size]
    matrix, _ = sample_bundle.rows_of(bundle.spec, seed)
    forged = Issuer(bundle, OTHER_KEY).issue(matrix, Scorer(bundle).probabilities(matrix))

    async def work(worker: int) -> None:
        attacker = Attacker(port, bodies, known, forged, tally, seed + worker)
        while tally.sent.total() < requests:
            await attacker.attack()
        await attacker.close()

    async with asyncio.TaskGroup() as group:
        for worker in range(WORKERS):
            group.create_task(work(worker))


def _faults(service: OutcomeService, group: MemoryGroup) -> list[str]:
    assert service.process is not None
    ended, log = service.process.poll(), service.log.read_text()
    faults = [] if ended is None else [f"the service of outcomes ended with {ended}: {log[-2000:]}"]
    if kills := group.kills():
        faults.append(f"the service of outcomes was killed {kills} times for its memory")
    if "Traceback" in log:
        faults.append(f"the service of outcomes had an unexpected error: {log[log.index('Traceback') :][:4000]}")
    return faults
