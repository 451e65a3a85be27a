"""What is tried again, and what is not: against a real store that comes late, and a server that counts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from healthrisk.config import settings
from healthrisk.errors import ConfigError
from healthrisk.object_store import s3_client
from healthrisk.retry import waits
from tests.support.listening import Handler, listening


@dataclass
class Answers:
    """What a server answers in turn, the last one for good, and how often it was asked."""

    codes: list[int]
    asked: int = 0
    url: str = field(default="")


@contextmanager
def answering(*codes: int) -> Iterator[Answers]:
    answers = Answers(list(codes))

    class Store(Handler):
        def respond(self) -> None:
            code = answers.codes[min(answers.asked, len(answers.codes) - 1)]
            answers.asked += 1
            self.answer(code)

    with listening(Store) as answers.url:
        yield answers


def ask(answers: Answers, monkeypatch: pytest.MonkeyPatch, seconds: str = "2") -> bool:
    for name, value in (("ACCESS_KEY_ID", "tests"), ("SECRET_ACCESS_KEY", "testsecret"), ("ENDPOINT_URL", answers.url)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", seconds)
    return bool(s3_client(settings()).bucket_exists(bucket_name="bundles"))


@pytest.mark.parametrize("code", [500, 502, 503, 504, 429])
def test_a_busy_store_is_asked_again(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(code, code, 200) as answers:
        assert ask(answers, monkeypatch)
    assert answers.asked == 3


@pytest.mark.parametrize("code", [400, 403])
def test_a_refusal_is_final(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(code) as answers, pytest.raises((MinioException, HTTPError)):
        ask(answers, monkeypatch, "60")
    assert answers.asked == 1


def test_a_store_that_stays_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(503) as answers, pytest.raises((MinioException, HTTPError)):
        ask(answers, monkeypatch, "1")
    assert answers.asked == 1 + len(list(waits()))


@pytest.mark.parametrize("seconds", [0, 1, 5, 60, 300])
def test_waits_double_and_add_up_to_what_is_set(seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", str(seconds))
    each = list(waits())
    assert sum(each) == seconds
    assert each[:-1] == sorted(each[:-1])
    assert max(each, default=0) <= 15


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e9"])
def test_no_time_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", text)
    with pytest.raises(ConfigError, match=f"HEALTHRISK_RETRY_SECONDS '{text}': expected seconds from 0 to 86400"):
        settings()
