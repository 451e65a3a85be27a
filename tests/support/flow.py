"""A flow of requests through a proxy to two versions of a model, each answer of which must be one version's own."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import orjson

from healthrisk.bundle import Bundle
from healthrisk.deployment.cluster import Deployed, challenger_name
from healthrisk.registry import versions
from tests.support import http
from tests.support.envoy import ProxiedCluster, backends, envoy
from tests.support.patience import ANSWER, until

NAME = "heart-disease"
CALLERS = 4
# Callers with a header that ends so; the first is the challenger's from 1 % on, the last the champion's until 100 %.
STICKY = ("00", "ff")
# So many answers are looked at after each move.
LOOKED_AT = 500


@contextmanager
def proxied(urls: dict[str, str], registered: list[Deployed], folder: Path) -> Iterator[ProxiedCluster]:
    """A champion at `first` and its challenger at `beside` behind an Envoy; once promoted that is at `second`."""
    versions.make_champion(NAME, "1")
    versions.make_challenger(NAME, "2")
    folder.mkdir()
    with envoy(folder, backends(NAME, urls["first"], urls["beside"])) as proxy:
        services = {NAME: (registered[0], None), challenger_name(NAME): (registered[1], None)}
        servers = {registered[0].digest: urls["first"], registered[1].digest: urls["second"]}
        twin = ProxiedCluster(services, {NAME}, proxy=proxy, servers=servers)
        twin.open_route(NAME)
        twin.wait_routed(NAME, ANSWER)
        yield twin


class Traffic:
    """Callers who ask one after another until they are told to stop; each answer must be one version's own."""

    def __init__(self, port: int, body: bytes, expected: dict[bytes, str]) -> None:
        self._port, self._body, self._expected = port, body, expected
        self._answered: list[tuple[str, Counter[str]]] = []
        self.wrong: list[Any] = []
        self._stopped = threading.Event()
        self._callers = [threading.Thread(target=self._ask, args=(who,)) for who in ("",) * CALLERS + STICKY]

    def start(self) -> None:
        for caller in self._callers:
            caller.start()
        until(lambda: len(self._answered) == len(self._callers))

    def stop(self) -> None:
        self._stopped.set()
        for caller in self._callers:
            caller.join()

    def total(self) -> int:
        """Return how many have been answered."""
        return sum(answered.total() for answered in self._now())

    def _ask(self, who: str) -> None:
        answered = Counter({"1": 0, "2": 0})
        self._answered.append((who, answered))
        headers = {"content-type": "application/json"} | ({"x-caller": f"caller-{who}"} if who else {})
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=ANSWER)) as connection:
            while not self._stopped.is_set():
                try:
                    connection.request("POST", f"/v2/models/{NAME}/infer", self._body, headers)
                    answer = connection.getresponse()
                    body = answer.read()
                except (OSError, HTTPException) as error:
                    self.wrong.append(error)
                    return
                if answer.status != 200 or body not in self._expected:
                    self.wrong.append((answer.status, body))
                    return
                answered[self._expected[body]] += 1

    def look(self, count: int = LOOKED_AT) -> Counter[tuple[str, str]]:
        """Return how many answers each kind of caller has from each version, of so many and a few more from now on."""
        # What was under way when the route moved may be answered by either.
        self._seen_since(self._now(), 2, 2 * CALLERS)
        return self._seen_since(self._now(), 10, count)

    def _now(self) -> list[Counter[str]]:
        return [Counter(answered) for _, answered in self._answered]

    def _seen_since(self, before: list[Counter[str]], each: int, count: int) -> Counter[tuple[str, str]]:
        """Wait until every caller has so many answers, and those without the header so many together."""

        def fresh() -> list[tuple[str, Counter[str]]]:
            pairs = zip(self._answered, before, self._now(), strict=True)
            return [(who, now - then) for (who, _), then, now in pairs]

        def enough() -> bool:
            totals = [(who, seen.total()) for who, seen in fresh()]
            every = all(total >= each for _, total in totals)
            return bool(self.wrong) or (every and sum(total for who, total in totals if not who) >= count)

        until(enough)
        assert not self.wrong, self.wrong
        return Counter(
            {
                (who, version): sum(seen[version] for name, seen in fresh() if name == who)
                for who in ("", *STICKY)
                for version in ("1", "2")
            }
        )


@contextmanager
def flowing(cluster: ProxiedCluster, bundle: Bundle, urls: dict[str, str]) -> Iterator[Traffic]:
    """Ask through a cluster's proxy all the time, for a row of a bundle, and hold the answers against the servers' own.

    Raises:
        AssertionError: an answer was lost, or is nobody's.
    """
    assert cluster.proxy is not None
    tensors = [
        {"name": name, "datatype": "FP64", "shape": [1], "data": [value]}
        for name, value in zip(bundle.golden.features, bundle.golden.rows[0], strict=True)
    ]
    body, headers = orjson.dumps({"id": "1", "inputs": tensors}), {"content-type": "application/json"}
    expected = {
        http.post(f"{urls[key]}/v2/models/{NAME}/infer", content=body, headers=headers).raise_for_status().content: one
        for key, one in (("first", "1"), ("second", "2"), ("beside", "2"))
    }
    assert len(expected) == 2, "a challenger's answers are those that it gives as champion, to the last byte"
    traffic = Traffic(cluster.proxy.port, body, expected)
    traffic.start()
    try:
        yield traffic
    finally:
        traffic.stop()
    assert not traffic.wrong, traffic.wrong
