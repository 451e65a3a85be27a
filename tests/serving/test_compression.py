"""Packed requests are answered as others are, and unpack to no more than an unpacked body may have."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from healthrisk.serving import compression
from tests.support.servers import Pair

LIMIT = 2**20
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.fixture
def rows(heart_pair: Pair) -> list[Any]:
    return heart_pair.bundle.golden.rows


@pytest.mark.parametrize("encoding", PACK)
def test_packed_requests_and_answers(heart_pair: Pair, client: httpx.Client, rows: list[Any], encoding: str) -> None:
    body = json.dumps({"instances": rows}).encode()
    plain = client.post(heart_pair.predict_url, content=body, headers={"accept-encoding": "identity"})
    headers = {"content-encoding": encoding.upper(), "accept-encoding": encoding}
    packed = client.post(heart_pair.predict_url, content=PACK[encoding](body), headers=headers)
    assert packed.headers["content-encoding"] == encoding
    assert packed.headers["vary"] == "accept-encoding"
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    for one in (plain, packed):
        for answer in one.raise_for_status().json()["predictions"]:
            assert answer.pop("timestamp")
    wanted = [[row["probability"] for row in one.json()["predictions"]] for one in (plain, packed)]
    assert wanted[0] == wanted[1]
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("encoding", PACK)
def test_what_unpacks_to_too_much_is_refused(heart_pair: Pair, client: httpx.Client, encoding: str) -> None:
    """Ten megabytes of blanks are ten kilobytes; the server's memory does not grow by what they promise."""
    body = PACK[encoding](b" " * 10 * LIMIT)
    assert len(body) < LIMIT / 50
    before = heart_pair.transformer.rss()
    for _ in range(50):
        answer = client.post(heart_pair.predict_url, content=body, headers={"content-encoding": encoding})
        assert answer.status_code == 413
        assert answer.json()["error"] == f"the unpacked body has more than {LIMIT} bytes"
    assert heart_pair.transformer.rss() - before < 10


BODY = json.dumps({"instances": []}).encode()
DAMAGES = {
    "not packed": (BODY, "is not valid"),
    "cut": (gzip.compress(BODY)[:-4], "not one whole"),
    "empty": (b"", "not one whole"),
    "more": (gzip.compress(BODY) + b"{}", "not one whole"),
    "twice": (gzip.compress(BODY) * 2, "not one whole"),
    "wrong sum": (gzip.compress(BODY)[:-8] + bytes(8), "is not valid"),
}


@pytest.mark.parametrize(("body", "says"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_bodies_are_named(heart_pair: Pair, client: httpx.Client, body: bytes, says: str) -> None:
    answer = client.post(heart_pair.predict_url, content=body, headers={"content-encoding": "gzip"})
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_other_encodings_are_refused(heart_pair: Pair, client: httpx.Client) -> None:
    for encoding in ("br", "gzip, gzip", "zstd", "\xff"):
        headers = [(b"content-encoding", encoding.encode("latin-1")), (b"content-type", b"application/json")]
        answer = client.post(heart_pair.predict_url, content=BODY, headers=headers)
        assert answer.status_code == 415
        assert "expected deflate or gzip" in answer.json()["error"]


@pytest.mark.parametrize(
    ("accepted", "size", "chosen"),
    [
        (b"", 5000, ""),
        (b"gzip", 5000, "gzip"),
        (b"gzip", 500, ""),
        (b"br, deflate, GZIP;q=0.5", 5000, "gzip"),
        (b"gzip; q=0, deflate", 5000, "deflate"),
        (b"gzip;q=0.000", 5000, ""),
        (b"identity", 5000, ""),
        (b"*\xff", 5000, ""),
    ],
)
def test_answers_go_as_clients_accept_them(accepted: bytes, size: int, chosen: str) -> None:
    assert compression.choose(accepted, size) == chosen
