import csv
import datetime
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from healthrisk.bundle import Bundle
from healthrisk.errors import SourceError, StoreError
from healthrisk.inference.scorer import Scorer
from healthrisk.monitoring.outcome_file import take_file
from healthrisk.monitoring.outcome_intake import OutcomeIntake, Returned, Ruling
from healthrisk.monitoring.outcome_store import OutcomeStore
from healthrisk.receipts import probability_bins
from healthrisk.receipts.token import Issuer
from tests.support import sample_bundle
from tests.support.commands import healthrisk
from tests.support.patience import until

KEY = b"k" * 32


@pytest.fixture
def store(address: str) -> Iterator[OutcomeStore]:
    opened = OutcomeStore(address)
    yield opened
    opened.close()


def intake(store: OutcomeStore, bundle: Bundle, key: bytes = KEY) -> OutcomeIntake:
    def open_version(model: str, digest: str) -> Bundle:
        if (model, digest) != (bundle.spec.name, bundle.digest):
            raise StoreError(f"no version {digest} of {model}")
        return bundle

    return OutcomeIntake(store, (key,), open_version)


def receipts(bundle: Bundle, rows: int | None = None) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Return receipts, the encoded rows, their probabilities and their class positions."""
    matrix, y = sample_bundle.rows_of(bundle.spec, 7)
    matrix, y = matrix[:rows], y[:rows]
    probabilities = Scorer(bundle).probabilities(matrix)
    return Issuer(bundle, KEY).issue(matrix, probabilities), matrix, probabilities, y


def raw(bundle: Bundle, y: np.ndarray) -> list[Any]:
    return [bundle.spec.target.classes[position].raw[-1] for position in y]


@pytest.mark.parametrize("dataset", ["heart-disease", "obesity"])
def test_counts_are_those_of_the_rows(store: OutcomeStore, bundle_of: Callable[..., Bundle], dataset: str) -> None:
    bundle = bundle_of(dataset, "random_forest")
    texts, matrix, probabilities, y = receipts(bundle, 300)
    rulings = intake(store, bundle).take([Returned(*pair) for pair in zip(texts, raw(bundle, y), strict=True)])
    assert rulings == [Ruling("counted")] * len(texts)
    counts = store.counts(bundle.spec.name)
    now = datetime.datetime.now(datetime.UTC)
    assert {cell.digest for cell in counts} == {bundle.digest}
    assert {cell.arrived for cell in counts} <= {now.date(), now.date() - datetime.timedelta(days=1)}
    labels, chances = probability_bins.labels(bundle.spec), probability_bins.probabilities(bundle.spec, probabilities)
    true = np.array([probability_bins.happened(bundle.spec, position) for position in y])
    expected = Counter(
        (label, int(place), bool(came))
        for position, label in enumerate(labels)
        for place, came in zip(probability_bins.bins(chances)[:, position], true[:, position], strict=True)
    )
    assert expected == {(c.label, c.bin, c.happened): n for c, n in counts.items() if not c.grouping}
    for name in bundle.spec.sensitive:
        assert sum(n for c, n in counts.items() if c.grouping == name and c.label == "event") == len(texts)
    column = bundle.spec.by_name[bundle.spec.sensitive[0]]
    values = matrix[:, bundle.spec.features.index(column.name)]
    for code, meaning in column.meanings.items():
        counted = sum(n for c, n in counts.items() if (c.group, c.label) == (meaning, "event"))
        assert counted == (values == column.code_values[code]).sum()


def test_a_receipt_counts_once(store: OutcomeStore, bundle_of: Callable[..., Bundle]) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    texts, *_ = receipts(bundle, 3)
    own = intake(store, bundle)
    assert [r.result for r in own.take([Returned(texts[0], 1), Returned(texts[0], 4)])] == ["counted", "repeated"]
    before = store.counts(bundle.spec.name)
    again = own.take([Returned(texts[0], 1), Returned(texts[0], 0), Returned(f" {texts[0]}\n", "1")])
    assert [(r.result, r.kind) for r in again] == [("repeated", ""), ("refused", "contradiction"), ("repeated", "")]
    assert store.counts(bundle.spec.name) == before
    both = own.take([Returned(texts[1], 1), Returned(texts[1], 0)])
    assert [(r.result, r.kind) for r in both] == [("counted", ""), ("refused", "contradiction")]
    assert sum(n for c, n in store.counts(bundle.spec.name).items() if not c.grouping) == 2


@pytest.mark.parametrize(
    ("outcome", "observed_at", "kind"),
    [
        (5, None, "outcome"),
        ("yes", None, "outcome"),
        (None, None, "outcome"),
        ("", None, "outcome"),
        (True, None, "outcome"),
        (0.5, None, "outcome"),
        (float("nan"), None, "outcome"),
        ([1], None, "outcome"),
        ({}, None, "outcome"),
        ("1e999", None, "outcome"),
        (1, "2020-01-01", "observed_at"),
        (1, "2999-01-01T00:00:00Z", "observed_at"),
        (1, "yesterday", "observed_at"),
        (1, 7, "observed_at"),
    ],
)
def test_what_the_spec_does_not_know_is_refused(
    tmp_path: Path, bundle_of: Callable[..., Bundle], outcome: Any, observed_at: Any, kind: str
) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    store = OutcomeStore(f"sqlite:///{tmp_path}/outcomes.db")
    (text,), *_ = receipts(bundle, 1)
    (ruling,) = intake(store, bundle).take([Returned(text, outcome, observed_at)])
    assert (ruling.result, ruling.kind) == ("refused", kind)
    assert kind in ruling.reason
    assert not store.counts(bundle.spec.name)
    # A refusal does not use the receipt up.
    today = datetime.datetime.now(datetime.UTC)
    assert intake(store, bundle).take([Returned(text, "1.0", today)]) == [Ruling("counted")]
    store.close()


def test_forged_and_altered_receipts_are_refused(tmp_path: Path, bundle_of: Callable[..., Bundle]) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    store = OutcomeStore(f"sqlite:///{tmp_path}/outcomes.db")
    (text,), matrix, probabilities, _ = receipts(bundle, 1)
    (foreign,) = Issuer(bundle, b"another key, of 32 letters or so").issue(matrix, probabilities)
    altered = text[:60] + ("A" if text[60] != "A" else "B") + text[61:]
    rulings = intake(store, bundle).take([Returned(given, 1) for given in (foreign, altered, text[:-4], "", None, 5)])
    assert {(ruling.result, ruling.kind) for ruling in rulings} == {("refused", "receipt")}
    assert not store.counts(bundle.spec.name)
    store.close()


def test_nothing_of_a_receipt_is_kept_but_its_digest(tmp_path: Path, bundle_of: Callable[..., Bundle]) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    path = tmp_path / "outcomes.db"
    store = OutcomeStore(f"sqlite:///{path}")
    texts, *_, y = receipts(bundle)
    intake(store, bundle).take([Returned(*pair) for pair in zip(texts, raw(bundle, y), strict=True)])
    store.close()
    assert not any(text.encode()[-22:] in path.read_bytes() for text in texts)
    with sqlite3.connect(path) as connection:
        kept = connection.execute("SELECT number, outcome FROM outcome_receipts").fetchall()
    connection.close()
    assert len(kept) == len(texts)
    assert all(len(number) == 16 and outcome in {0, 1} for number, outcome in kept)


def test_many_who_return_the_same_at_once_count_it_once(
    address: str, store: OutcomeStore, bundle_of: Callable[..., Bundle]
) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    texts, *_, y = receipts(bundle)
    pairs = [Returned(*pair) for pair in zip(texts, raw(bundle, y), strict=True)]
    results: list[Ruling] = []
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        own = OutcomeStore(address)
        try:
            for places in np.array_split(np.random.default_rng(seed).permutation(len(pairs)), 6):
                results.extend(intake(own, bundle).take([pairs[place] for place in places]))
        except BaseException as error:  # noqa: BLE001 - shown below, in the test's own thread
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert Counter(ruling.result for ruling in results) == {"counted": len(pairs), "repeated": 3 * len(pairs)}
    assert sum(n for c, n in store.counts(bundle.spec.name).items() if not c.grouping) == len(pairs)


def table(path: Path, texts: list[str], outcomes: list[Any], **more: list[Any]) -> Path:
    columns = {"receipt": texts, "outcome": outcomes, **more}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_comes_back(tmp_path: Path, bundle_of: Callable[..., Bundle], kind: str) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    store = OutcomeStore(f"sqlite:///{tmp_path}/outcomes.db")
    texts, *_, y = receipts(bundle, 5)
    today = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    path = table(tmp_path / f"file.{kind}", [*texts, "forged"], [*raw(bundle, y), 0], observed_at=[today] * 6)
    rejects = tmp_path / "rejects.csv"
    first = take_file(intake(store, bundle), path, rejects)
    assert first.model_dump() == {
        "rows": 6,
        "counted": 5,
        "repeated": 0,
        "refused": {"receipt": 1},
        "rejects": str(rejects),
    }
    (line,) = csv.DictReader(rejects.read_text().splitlines())
    assert (line["row"], line["kind"]) == ("6", "receipt")
    whole = table(tmp_path / f"whole.{kind}", texts, raw(bundle, y))
    assert take_file(intake(store, bundle), whole, rejects).repeated == 5
    assert not rejects.exists()
    store.close()


@pytest.mark.parametrize(
    ("content", "says"), [("receipt\nx\n", "'outcome'"), ("a,b\n1,2\n", "'receipt'"), ("", "cannot be read")]
)
def test_a_file_that_is_no_such_table_is_refused(
    tmp_path: Path, bundle_of: Callable[..., Bundle], content: str, says: str
) -> None:
    (path := tmp_path / "file.csv").write_text(content)
    store = OutcomeStore(f"sqlite:///{tmp_path}/outcomes.db")
    with pytest.raises(SourceError, match=says):
        take_file(intake(store, bundle_of("heart-disease", "random_forest")), path, tmp_path / "rejects.csv")
    store.close()


@pytest.mark.parametrize("given", ["mysql://secret-password@host/x", "nonsense secret-password", "sqlite:////proc/x"])
def test_a_bad_address_is_named_without_its_password(given: str) -> None:
    with pytest.raises(StoreError) as caught:
        OutcomeStore(given)
    assert "secret-password" not in str(caught.value)


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"127\.0\.0\.1") as caught:
        OutcomeStore("postgresql://someone:secret-password@127.0.0.1:9/none")
    assert "secret-password" not in str(caught.value)


def platform(home: Path, address: str, bundle: Bundle) -> dict[str, str]:
    """Return the environment of a platform that has a bundle."""
    bundles = home / "bundles" / bundle.spec.name
    bundles.mkdir(parents=True, exist_ok=True)
    if not (link := bundles / bundle.digest).exists():
        link.symlink_to(bundle.path)
    return {"HEALTHRISK_HOME": str(home), "HEALTHRISK_OUTCOMES": address, "HEALTHRISK_RECEIPT_KEY": KEY.decode()}


@pytest.mark.slow
def test_a_kill_in_the_middle_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, address: str, store: OutcomeStore, bundle_of: Callable[..., Bundle]
) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    matrix, y = sample_bundle.rows_of(bundle.spec, 7)
    repeats = 70
    matrix, y = np.tile(matrix, (repeats, 1)), np.tile(y, repeats)
    texts = Issuer(bundle, KEY).issue(matrix, Scorer(bundle).probabilities(matrix))
    path = table(tmp_path / "file.parquet", texts, raw(bundle, y))
    environment = platform(tmp_path, address, bundle)
    command = [sys.executable, "-m", "healthrisk", "outcomes", str(path)]

    def counted() -> int:
        return sum(n for c, n in store.counts(bundle.spec.name).items() if not c.grouping)

    killed = []
    for least in (0, 6000):
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        until(lambda: counted() > least or process.poll() is not None)  # noqa: B023 - asked within the loop
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed.append(process.returncode)
        # What has been counted are whole chunks.
        assert counted() % 1000 == 0
    assert killed == [-signal.SIGKILL] * 2, "the file was too short to be killed in"
    before = counted()
    done = healthrisk("outcomes", path, **environment)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["counted"], summary["repeated"], summary["refused"]) == (len(texts) - before, before, {})
    assert counted() == len(texts)
    whole = {cell: count for cell, count in store.counts(bundle.spec.name).items() if not cell.grouping}
    once = {cell._replace(arrived=None): 0 for cell in whole}
    for cell, count in whole.items():
        once[cell._replace(arrived=None)] += count
    assert all(count % repeats == 0 for count in once.values())


@pytest.mark.slow
def test_the_command_says_by_its_exit_code_that_a_row_was_refused(
    tmp_path: Path, bundle_of: Callable[..., Bundle]
) -> None:
    """What is good beside it is counted, and the next run with that alone ends as one that refuses nothing."""
    bundle = bundle_of("heart-disease", "random_forest")
    texts, *_, y = receipts(bundle)
    environment = platform(tmp_path, f"sqlite:///{tmp_path}/outcomes.db", bundle)
    path = table(tmp_path / "file.csv", [*texts[:3], "forged"], raw(bundle, y[:4]))
    for counted, repeated in ((3, 0), (0, 3)):
        done = healthrisk("outcomes", path, **environment)
        assert (done.returncode, done.stderr) == (3, "")
        said = json.loads(done.stdout)
        assert (said["counted"], said["repeated"], sum(said["refused"].values())) == (counted, repeated, 1)
        assert Path(said["rejects"]).read_text().splitlines()[1].startswith("4,")
    done = healthrisk("outcomes", table(path, texts[:3], raw(bundle, y[:3])), **environment)
    assert (done.returncode, json.loads(done.stdout)["repeated"]) == (0, 3)
    assert not (tmp_path / "file.rejects.csv").exists()


@pytest.mark.slow
def test_without_a_key_the_command_refuses(tmp_path: Path, bundle_of: Callable[..., Bundle]) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    path = table(tmp_path / "file.csv", ["x"], [1])
    environment = platform(tmp_path, f"sqlite:///{tmp_path}/outcomes.db", bundle)
    for key, says in (("", "is not set"), ("short-but-mine", "shorter than 32")):
        done = healthrisk("outcomes", path, **environment | {"HEALTHRISK_RECEIPT_KEY": key})
        assert done.returncode == 1
        assert says in done.stderr
        assert "short-but-mine" not in done.stderr


@pytest.mark.slow
def test_performance_is_shown_from_what_came_back(tmp_path: Path, bundle_of: Callable[..., Bundle]) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    address = f"sqlite:///{tmp_path}/outcomes.db"
    texts, *_, y = receipts(bundle)
    environment = platform(tmp_path, address, bundle)
    path = table(tmp_path / "file.csv", texts, raw(bundle, y))
    assert healthrisk("outcomes", path, **environment).returncode == 0
    shown = healthrisk("performance", "--table", **environment)
    assert shown.returncode == 0, shown.stderr
    assert f"heart-disease, version {bundle.version}: disease" in shown.stdout
    # A forest is far too timid about the rows that it was grown on.
    assert "alarm     raised on" in shown.stdout
    assert "calibration slope of all" in shown.stdout
    (version,) = json.loads(healthrisk("performance", **environment).stdout)["versions"]
    by_group = {(one["grouping"], one["group"]): one for one in version["slices"] if not one["month"]}
    assert len(by_group) == 6
    # The sample bundle was validated on these very rows, so all figures but the dates are validation's.
    for one in by_group.values():
        assert one["live"] == one["validated"]
        assert f"{one['live']['roc_auc']['mean']:.3f}" in shown.stdout
    assert by_group["", ""]["live"]["rows"] == len(texts) == version["alarm"]["outcomes"]
    assert by_group["sex", "female"]["live"]["rows"] + by_group["sex", "male"]["live"]["rows"] == len(texts)
    (tmp_path / "own.yaml").write_text(bundle.spec.to_json())
    by_path = healthrisk("performance", "--dataset", tmp_path / "own.yaml", **environment)
    assert json.loads(by_path.stdout)["versions"] == [version]
    unknown = healthrisk("performance", "--dataset", "obesity", **environment)
    assert unknown.returncode == 1
    assert "there are outcomes of heart-disease" in unknown.stderr
