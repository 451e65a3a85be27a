"""What a gRPC message becomes in memory is known before protobuf parses it."""

import contextlib
import sys

import pytest
from google.protobuf.message import DecodeError
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from healthrisk.serving import wire
from healthrisk.serving.admission import Limits
from healthrisk.serving.errors import RequestError
from tests.support import heavy, memory

# A fourth of what may come in: all of it takes memory in proportion to a message's length.
SIZE = Limits.max_body_bytes // 4
LIMIT = Limits.max_parsed_bytes // 4


FORMS = heavy.messages(SIZE)


def take(message: bytes) -> None:
    """Check and parse a message, and its first half."""
    for part_of_it in (message, message[: len(message) // 2]):
        with contextlib.suppress(RequestError, DecodeError):
            wire.check(part_of_it, LIMIT)
            pb.ModelInferRequest.FromString(part_of_it)


@pytest.fixture(scope="module")
def peaks() -> dict[str, int]:
    return memory.peaks("tests.serving.test_wire")


@pytest.mark.parametrize("form", FORMS)
def test_memory_is_bounded(form: str, peaks: dict[str, int]) -> None:
    assert peaks[form] <= LIMIT


@pytest.mark.parametrize(
    "form",
    ["inputs", "outputs", "raw contents", "unknown fields", "parameters", "parameters of a tensor", "shape, unpacked"],
)
def test_many_parts_are_refused(form: str) -> None:
    with pytest.raises(RequestError, match=f"more than {wire.MOST_PARTS} parts") as caught:
        wire.check(FORMS[form], LIMIT)
    assert caught.value.status == 413


def test_a_message_of_full_size_may_come_in() -> None:
    for form in ("one raw tensor", "FP64", "INT64"):
        wire.check(FORMS[form], LIMIT)
    with pytest.raises(RequestError, match="at most"):
        wire.check(b"\x3a" + heavy.varint(LIMIT // 16) + bytes(LIMIT // 16), LIMIT)


@pytest.mark.parametrize(
    "message",
    [b"\x2a\xff\xff\xff\x7f", b"\x78" + b"\xff" * 20, b"\x7b\x7c", b"\x0a", b"\x08", b"\x79\x00", b"\x2a\xff"],
)
def test_what_is_cut_off_is_refused(message: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        wire.check(message, len(message) * 16)
    assert caught.value.status == 400


def test_good_messages_pass_however_small_the_limit_is() -> None:
    message = pb.ModelInferRequest(model_name="heart-disease", id="1")
    message.parameters["a"].int64_param = 2**40
    message.inputs.add(name="age", datatype="FP64", shape=[1]).contents.fp64_contents.append(63.0)
    raw = message.SerializeToString()
    wire.check(raw, len(raw) * 16)
    wire.check(raw, sys.maxsize)
