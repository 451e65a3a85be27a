"""Batch prediction from the command line: CSV and Parquet, local and served, bad rows, bounded memory."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from healthrisk.bundle import Bundle, parity
from healthrisk.inference.scorer import risk_levels
from tests.support import patience
from tests.support.commands import healthrisk
from tests.support.servers import Pair, free_ports

# Every test runs a command on tables, some of them on many rows or on servers.
pytestmark = pytest.mark.slow


def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = healthrisk("predict", *arguments, "--quiet")
    assert not check or done.returncode == 0, done.stderr
    return done


def read(path: Path) -> pa.Table:
    return pq.read_table(path) if path.suffix == ".parquet" else pa.csv.read_csv(path)


@pytest.fixture(params=["heart-disease", "obesity"])
def bundle(request: pytest.FixtureRequest, make_bundle: Callable[..., Path]) -> Bundle:
    return Bundle.open(make_bundle(request.param))


@pytest.fixture
def rows(bundle: Bundle, raw_rows: Any) -> list[dict[str, Any]]:
    return raw_rows(bundle.path)


@pytest.mark.parametrize(("source", "out"), [("csv", "parquet"), ("parquet", "csv")])
def test_local(bundle: Bundle, rows: Any, offline: Any, tmp_path: Path, source: str, out: str) -> None:
    table = pa.Table.from_pylist([{"patient": f"p{n}", **row} for n, row in enumerate(rows)])
    file, result = tmp_path / f"in.{source}", tmp_path / f"out.{out}"
    pq.write_table(table, file) if source == "parquet" else pa.csv.write_csv(table, file)
    summary = json.loads(run(file, "--out", result, "--bundle", bundle.path, "--batch-rows", 100).stdout)
    assert (summary["rows"], summary["rejected_rows"], summary["version"]) == (len(rows), 0, bundle.version)
    answer, expected = read(result), offline(bundle, rows)
    assert answer["patient"].to_pylist() == table["patient"].to_pylist()
    classes = bundle.spec.target.classes
    assert answer["prediction"].to_pylist() == [classes[k].value for k in expected.argmax(axis=1)]
    assert answer["risk_level"].to_pylist() == risk_levels(bundle.spec, expected)
    names = ["probability"] if bundle.spec.is_binary else [f"probability_{cls.value}" for cls in classes]
    served = np.column_stack([answer[name] for name in names])
    assert np.abs(served - (expected[:, 1:] if bundle.spec.is_binary else expected)).max() <= 1e-6
    assert {path.name for path in tmp_path.iterdir()} == {file.name, result.name}


def test_served(heart_pair: Pair, obesity_pair: Pair, raw_rows: Any, offline: Any, tmp_path: Path) -> None:
    for pair in (heart_pair, obesity_pair):
        rows, spec = raw_rows(pair.bundle.path), pair.bundle.spec
        pa.csv.write_csv(pa.Table.from_pylist(rows), tmp_path / "in.csv")
        arguments = ("--dataset", spec.name, "--url", pair.transformer.url, "--batch-rows", 64)
        summary = json.loads(run(tmp_path / "in.csv", "--out", tmp_path / "out.csv", *arguments).stdout)
        assert summary["served"]["requests"] == -(-len(rows) // 64)
        assert summary["served"]["rows"] == len(rows)
        assert 0 < summary["served"]["p50_ms"] <= summary["served"]["p99_ms"] <= summary["served"]["max_ms"]
        assert read(tmp_path / "out.csv")["risk_level"].to_pylist() == risk_levels(spec, offline(pair.bundle, rows))


@pytest.fixture
def faulty(make_bundle: Callable[..., Path], raw_rows: Any, tmp_path: Path) -> tuple[Bundle, Path, dict[int, str]]:
    """Return a bundle, a file with bad rows, and which row (from 1) breaks which feature."""
    bundle = Bundle.open(make_bundle())
    rows = [{name: "" if value is None else value for name, value in row.items()} for row in raw_rows(bundle.path)]
    spec = bundle.spec
    number = next(column.name for column in spec.columns if column.kind == "number")
    code = next(column.name for column in spec.columns if column.kind == "code")
    required = next(column.name for column in spec.columns if not column.missing.allowed)
    faults = {2: (number, "1e9"), 10: (code, "7"), 11: (required, ""), 200: (number, "n/a")}
    for row, (feature, value) in faults.items():
        rows[row - 1][feature] = value
    lines = [",".join(spec.features), *(",".join(str(value) for value in row.values()) for row in rows)]
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    return bundle, tmp_path / "in.csv", {row: feature for row, (feature, _) in faults.items()}


def test_bad_rows_are_written_apart(faulty: Any, tmp_path: Path) -> None:
    bundle, file, faults = faulty
    out = tmp_path / "out.csv"
    summary = json.loads(run(file, "--out", out, "--bundle", bundle.path, "--batch-rows", 50).stdout)
    assert summary["rejected_rows"] == len(faults)
    rejects = read(tmp_path / "out.rejects.csv").to_pylist()
    assert {line["row"]: line["feature"] for line in rejects} == faults
    assert all(line["expected"] == bundle.spec.by_name[line["feature"]].allowed for line in rejects)
    assert read(out).num_rows == summary["rows"] - len(faults)


def test_no_row_is_good(heart_pair: Pair, tmp_path: Path) -> None:
    """Also a served model is not asked about no rows; and a later run leaves no previous rejects."""
    names = heart_pair.bundle.spec.features
    good = dict(zip(names, heart_pair.bundle.golden.rows[0], strict=True))
    file, out, rejects = tmp_path / "in.csv", tmp_path / "out.csv", tmp_path / "out.rejects.csv"
    for arguments in (("--bundle", heart_pair.bundle.path), ("--url", heart_pair.transformer.url)):
        pa.csv.write_csv(pa.Table.from_pylist([{**good, names[0]: 1e9}] * 3), file)
        assert json.loads(run(file, "--out", out, *arguments).stdout)["rejected_rows"] == 3
        assert (read(out).num_rows, read(rejects).num_rows) == (0, 3)
        pa.csv.write_csv(pa.Table.from_pylist([good] * 3), file)
        assert json.loads(run(file, "--out", out, *arguments).stdout)["rejected_rows"] == 0
        assert read(out).num_rows == 3
        assert not rejects.exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_no_row_at_all(make_bundle: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    names = Bundle.open(make_bundle()).spec.features
    file, out = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    table = pa.table({name: pa.array([], pa.float64()) for name in names})
    pq.write_table(table, file) if kind == "parquet" else pa.csv.write_csv(table, file)
    assert json.loads(run(file, "--out", out, "--bundle", make_bundle()).stdout)["rows"] == 0
    assert read(out).schema.names == [*names, "prediction", "probability", "risk_level"]


def test_progress_is_shown_on_a_terminal(make_bundle: Callable[..., Path], raw_rows: Any, tmp_path: Path) -> None:
    file, bundle = tmp_path / "in.csv", make_bundle()
    pa.csv.write_csv(pa.Table.from_pylist(raw_rows(bundle)), file)
    command = [sys.executable, "-m", "healthrisk", "predict", file, "--out", tmp_path / "out.csv", "--bundle", bundle]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, check=True, timeout=patience.PROCESS)
    os.close(theirs)
    assert re.search(r"100%\|.*B/s", os.read(ours, 100_000).decode())
    os.close(ours)
    piped = patience.run(command)
    assert (piped.returncode, piped.stderr) == (0, "")


def test_strict_stops_and_leaves_nothing(faulty: Any, tmp_path: Path) -> None:
    bundle, file, faults = faulty
    ended = run(file, "--out", tmp_path / "out.parquet", "--bundle", bundle.path, "--strict", check=False)
    assert ended.returncode == 1
    assert f"row 2: {faults[2]} is '1e9', expected" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def bad_calls(tmp_path: Path, bundle: Path) -> dict[str, tuple[list[object], str]]:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    (tmp_path / "fake.parquet").write_text("no parquet")
    (tmp_path / "binary.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    (tmp_path / "twice.csv").write_text("a,b,a\n1,2,3\n")
    pq.write_table(
        pa.table({name: [[1], [2]] for name in Bundle.open(bundle).spec.features}), tmp_path / "lists.parquet"
    )
    out, local = ["--out", tmp_path / "out.csv"], ["--bundle", bundle]
    good = tmp_path / "good.csv"
    (port,) = free_ports(1)
    return {
        "absent": ([tmp_path / "absent.csv", *out, *local], "absent.csv"),
        "empty": ([tmp_path / "empty.csv", *out, *local], "empty.csv"),
        "columns": ([tmp_path / "columns.csv", *out, *local], "no column"),
        "fake": ([tmp_path / "fake.parquet", *out, *local], "fake.parquet"),
        "binary": ([tmp_path / "binary.csv", *out, *local], "binary.csv"),
        "twice": ([tmp_path / "twice.csv", *out, *local], "2 columns named 'a'"),
        "lists": ([tmp_path / "lists.parquet", *out, *local], "expected numbers or texts"),
        "itself": ([good, "--out", good, *local], "three different files"),
        "rejects": ([good, *out, "--rejects", out[1], *local], "three different files"),
        "nowhere": ([good, "--out", tmp_path / "none" / "out.csv", *local], "cannot be written"),
        "folder": ([tmp_path, *out, *local], "expected a folder"),
        "suffix": ([tmp_path / "columns.csv", "--out", tmp_path / "out.xlsx", *local], "ends in .csv or .parquet"),
        "bundle": ([tmp_path / "columns.csv", *out, "--bundle", tmp_path / "none"], "no such folder"),
        "server": ([good, *out, "--url", f"http://127.0.0.1:{port}"], "cannot be reached"),
        "url": ([good, *out, "--url", "nowhere"], "expected http://"),
    }


def test_bad_calls_say_why(make_bundle: Callable[..., Path], raw_rows: Any, tmp_path: Path) -> None:
    bundle = make_bundle()
    pa.csv.write_csv(pa.Table.from_pylist(raw_rows(bundle)[:3]), tmp_path / "good.csv")
    calls = bad_calls(tmp_path, bundle)
    for name, (arguments, word) in calls.items():
        ended = run(*arguments, check=False)
        assert ended.returncode == 1, name
        assert word in ended.stderr, (name, ended.stderr)
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("options", [["--batch-rows=-1"], ["--threads=0"], ["--bundle=a", "--url=b"]])
def test_bad_options_are_refused(options: list[str]) -> None:
    ended = run("in.csv", "--out", "out.csv", *options, check=False)
    assert ended.returncode == 2
    assert options[-1].split("=")[0] in ended.stderr


def test_memory_does_not_grow_with_rows(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle("heart-disease", "logistic_regression"))
    matrix = parity.generate_rows(bundle.spec, 100_000, 1)
    table = pa.table(
        {name: pa.array(values, from_pandas=True) for name, values in zip(bundle.spec.features, matrix.T, strict=True)}
    )
    peaks = []
    for parts in (2, 20):
        file = tmp_path / f"{parts}.parquet"
        with pq.ParquetWriter(file, table.schema) as writer:
            for _ in range(parts):
                writer.write_table(table)
        code = (
            "import pathlib, re, sys; from healthrisk.__main__ import main; main();"
            # Not ru_maxrss: a child begins with its parent's.
            "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1], file=sys.stderr)"
        )
        arguments = [
            "predict",
            str(file),
            "--out",
            str(tmp_path / "out.parquet"),
            "--bundle",
            str(bundle.path),
            "--quiet",
        ]
        ended = patience.run([sys.executable, "-c", code, *arguments])
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["rows"] == parts * 100_000
        peaks.append(int(ended.stderr.split()[-1]) / 1024)
    assert peaks[1] < 500
    assert peaks[1] - peaks[0] < 100


@pytest.mark.parametrize("before", [0, 2, 300_000])
def test_a_row_of_another_length_is_named_and_not_quoted(
    make_bundle: Callable[..., Path], raw_rows: Any, tmp_path: Path, before: int
) -> None:
    """However many rows come first: the fault may lie in the block that names the columns, or in a later one."""
    bundle, file = make_bundle(), tmp_path / "in.csv"
    row = next(row for row in raw_rows(bundle) if None not in row.values())
    line = ",".join(str(value) for value in row.values())
    rows = [",".join(row), *[line] * before, f"{line},987654", line]
    file.write_text("\n".join(rows) + "\n")
    ended = run(file, "--out", tmp_path / "out.csv", "--bundle", bundle, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"line {before + 2} has {len(row) + 1} columns, expected {len(row)}" in ended.stderr
    assert "987654" not in ended.stderr
    assert line not in ended.stderr


def test_a_header_in_another_encoding_is_one_line(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    bundle, file = make_bundle(), tmp_path / "in.csv"
    file.write_bytes("âge,sex\n63,1\n".encode("latin-1"))
    ended = run(file, "--out", tmp_path / "out.csv", "--bundle", bundle, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1), ended.stderr
    assert "UTF-8" in ended.stderr


@pytest.mark.parametrize("text", ["5_0", "\N{FULLWIDTH DIGIT FIVE}\N{FULLWIDTH DIGIT ZERO}", "0x32"])
def test_texts_that_are_no_numbers(make_bundle: Callable[..., Path], raw_rows: Any, tmp_path: Path, text: str) -> None:
    """As the servers refuse them: row by row, with the feature and without the value."""
    bundle, file = make_bundle(), tmp_path / "in.csv"
    row = next(row for row in raw_rows(bundle) if None not in row.values()) | {"chol": text}
    file.write_text("\n".join([",".join(row), ",".join(str(value) for value in row.values())]) + "\n")
    assert json.loads(run(file, "--out", tmp_path / "out.csv", "--bundle", bundle).stdout)["rejected_rows"] == 1
    assert "chol" in (tmp_path / "out.rejects.csv").read_text()
