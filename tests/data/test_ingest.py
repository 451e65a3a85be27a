"""Whatever the source, the same table comes out, or one clear line says why not, and nothing is left behind."""

import gzip
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from healthrisk import datasets
from healthrisk import spec as specs
from healthrisk.data.ingest import ingest
from healthrisk.errors import SourceError
from healthrisk.spec import CsvFormat, DatasetSpec
from tests.support.listening import Handler, listening

HEART = specs.load("heart-disease")
READMISSION = Path(__file__).parents[1] / "support" / "readmission.yaml"
SHIPPED = Path(datasets.__path__[0]) / "heart-disease.csv"


def table(source: str | Path, tmp_path: Path, spec: DatasetSpec = HEART) -> pd.DataFrame:
    """Ingest a source and read what was written."""
    ingest(spec, str(source), tmp_path / "table")
    return pq.read_table(tmp_path / "table").to_pandas()


def written(tmp_path: Path, content: bytes, name: str = "given.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_the_shipped_copy_is_ucis_file_row_for_row(uci: Path, tmp_path: Path) -> None:
    shipped = table("", tmp_path)
    uci = table(uci / "processed.cleveland.data", tmp_path)
    uci[HEART.target.name] = uci[HEART.target.name].map(lambda raw: HEART.target.index[raw])
    pd.testing.assert_frame_equal(shipped, uci)


def test_the_record_says_what_was_read(tmp_path: Path) -> None:
    record = ingest(HEART, "", tmp_path / "table")
    assert record.source == "shipped"
    assert record.rows == 303
    assert record.sha256 == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert {name: count for name, count in record.missing.items() if count} == {"ca": 4, "thal": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: "\ufeff" + text, id="byte order mark"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: text.rstrip("\n"), id="no last newline"),
        pytest.param(lambda text: "\n" + text, id="blank first line"),
        pytest.param(lambda text: text.split("\n", 1)[1], id="no header"),
        pytest.param(lambda text: text.replace("?", ""), id="blanks for missing"),
        pytest.param(lambda text: text.replace("?", "nan"), id="NaN for missing"),
        pytest.param(lambda text: text.replace(",num\n", ",target\n", 1), id="the outcome's other name"),
        pytest.param(
            lambda text: pd.read_csv(io.StringIO(text), dtype=str).iloc[:, ::-1].to_csv(index=False), id="other order"
        ),
    ],
)
def test_spellings_of_the_same_table_give_the_same_table(change: Callable[[str], str], tmp_path: Path) -> None:
    given = written(tmp_path, change(SHIPPED.read_text()).encode())
    pd.testing.assert_frame_equal(table(given, tmp_path), table("", tmp_path))


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    pd.read_csv(SHIPPED, na_values="?").to_parquet(tmp_path / "given.parquet")
    pd.testing.assert_frame_equal(table(tmp_path / "given.parquet", tmp_path), table("", tmp_path))


def test_values_that_mean_missing_become_missing(tmp_path: Path) -> None:
    frame = pd.read_csv(SHIPPED, na_values="?")
    frame.loc[:9, "chol"] = 0
    frame.to_csv(tmp_path / "given.csv", index=False)
    assert table(tmp_path / "given.csv", tmp_path)["chol"].isna().sum() == 10


HEADER = b"age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,num\n"
ROW = b"63,1,1,145,233,1,2,150,0,2.3,3,0,6,0\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (HEADER, "has no rows"),
        (b"a\n1\n2\n", "lacks column 'age', 'sex', 'cp', 'trestbps', 'chol' and has the unknown column 'a'"),
        (HEADER.replace(b"chol", b"cholesterol") + ROW, "lacks column 'chol' and has the unknown column 'cholesterol'"),
        (HEADER.replace(b"chol", b"age") + ROW, "has twice the column 'age'"),
        (HEADER + ROW + ROW.replace(b"233", b"high"), "row 2: chol is 'high', expected a number from 60 to 700 mg/dl"),
        (HEADER + ROW.replace(b",0\n", b",0.5\n"), "row 1: num is 0.5, expected one of 0, 1, 2, 3, 4"),
        (HEADER + ROW + ROW.replace(b",0\n", b",inf\n"), "row 2: num is inf, expected one of"),
        (HEADER + ROW.replace(b",0\n", b",\n"), "row 1: num is missing, expected one of"),
        ((HEADER + ROW).replace(b",", b";"), "has its columns separated by ';', expected ',': see `csv: delimiter`"),
        (gzip.compress(HEADER + ROW), "is compressed with gzip: unpack it first"),
        (HEADER + ROW + b"1,2,3\n", "line 3 has 3 columns, expected 14"),
        (HEADER + ROW + ROW.replace(b"233", b"\xff\xfe"), "not UTF-8"),
        (HEADER.decode().encode("utf-16"), "not UTF-8 text: byte 0xff"),
        (b"PAR1 but not really", "not a table"),
    ],
)
def test_what_is_no_table_is_refused_in_words(content: bytes, says: str, tmp_path: Path) -> None:
    given = written(tmp_path, content)
    with pytest.raises(SourceError) as caught:
        ingest(HEART, str(given), tmp_path / "table")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [given]


def test_a_bad_row_deep_in_a_file_is_found_and_not_quoted(tmp_path: Path) -> None:
    rows = [ROW] * 300_000
    rows[250_000] = ROW.replace(b"145", b"14S")
    given = written(tmp_path, HEADER + b"".join(rows))
    with pytest.raises(SourceError, match=r"row 250001: trestbps is '14S'") as caught:
        ingest(HEART, str(given), tmp_path / "table")
    assert "233" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/nowhere/a.csv", "no such file"),
        (".", "is no fragment"),
        ("http://127.0.0.1:9/a", "cannot be downloaded"),
    ],
)
def test_what_is_not_there_is_named(address: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "0.5")
    with pytest.raises(SourceError, match=says) as caught:
        ingest(HEART, address, tmp_path / "table")
    assert address in str(caught.value)


@dataclass
class Archive:
    """A real HTTP server that answers with given status codes first, and then with a file."""

    content: bytes = b""
    failures: list[int] = field(default_factory=list)
    asked: int = 0
    url: str = ""


@pytest.fixture
def archive() -> Iterator[Archive]:
    served = Archive()

    class Files(Handler):
        def respond(self) -> None:
            served.asked += 1
            status = served.failures.pop(0) if served.failures else 200
            self.answer(status, served.content if status == 200 else b"")

    with listening(Files) as url:
        served.url = f"{url}/data"
        yield served


def with_source(**source: str) -> DatasetSpec:
    document = HEART.model_dump(mode="json")
    return DatasetSpec.model_validate(document | {"sources": [source], "external": []})


def test_a_source_is_downloaded_and_tried_again_while_the_server_is_busy(archive: Archive, tmp_path: Path) -> None:
    archive.content, archive.failures = SHIPPED.read_bytes(), [503, 502]
    digest = hashlib.sha256(archive.content).hexdigest()
    record = ingest(with_source(name="there", uri=archive.url, sha256=digest), "", tmp_path / "table")
    assert (record.source, record.uri, record.rows, archive.asked) == ("there", archive.url, 303, 3)


def test_a_source_that_is_not_found_is_not_asked_for_again(archive: Archive, tmp_path: Path) -> None:
    archive.failures = [404]
    with pytest.raises(SourceError, match="answered 404"):
        ingest(with_source(name="there", uri=archive.url, sha256="0" * 64), "", tmp_path / "table")
    assert archive.asked == 1


def test_a_source_with_another_digest_is_refused(archive: Archive, tmp_path: Path) -> None:
    archive.content = SHIPPED.read_bytes()
    with pytest.raises(SourceError, match=r"its SHA-256 is .* the spec expects 0000"):
        ingest(with_source(name="there", uri=archive.url, sha256="0" * 64), "", tmp_path / "table")
    assert list(tmp_path.iterdir()) == []


def test_a_source_may_lie_in_an_archive(archive: Archive, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("inside.csv", SHIPPED.read_bytes())
    archive.content = buffer.getvalue()
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    source = {"name": "there", "uri": archive.url, "sha256": digest}
    assert ingest(with_source(**source, member="inside.csv"), "", tmp_path / "table").rows == 303
    with pytest.raises(SourceError, match=r"no zip archive with a file 'other\.csv'"):
        ingest(with_source(**source, member="other.csv"), "", tmp_path / "table")


def test_a_folder_of_files_stands_in_for_downloads(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "data").write_bytes(SHIPPED.read_bytes())
    monkeypatch.setenv("HEALTHRISK_DATA", str(tmp_path / "files"))
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert ingest(with_source(name="there", uri=archive.url, sha256=digest), "there", tmp_path / "table").rows == 303
    assert archive.asked == 0


def test_a_file_of_that_folder_with_another_digest_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_text("another table\n")
    monkeypatch.setenv("HEALTHRISK_DATA", str(tmp_path))
    spec = with_source(name="there", uri="http://127.0.0.1:1/data", sha256="0" * 64)
    with pytest.raises(SourceError, match=f"^{re.escape(str(tmp_path / 'data'))}: its SHA-256"):
        ingest(spec, "there", tmp_path / "table")


def test_a_spec_without_sources_asks_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--data FILE"):
        ingest(HEART.model_copy(update={"sources": ()}), "", tmp_path / "table")


def test_texts_and_seven_classes_are_read_as_they_are(uci: Path, tmp_path: Path) -> None:
    obesity = specs.load("obesity")
    read = table(uci / "ObesityDataSet_raw_and_data_sinthetic.csv", tmp_path, obesity)
    given = pd.read_csv(uci / "ObesityDataSet_raw_and_data_sinthetic.csv")
    pd.testing.assert_frame_equal(read, given)


@pytest.mark.parametrize(("delimiter", "encoding"), [(";", "latin-1"), ("\t", "utf-8"), ("|", "utf-8")])
def test_a_declared_delimiter_and_encoding_are_read(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = READMISSION.read_text().replace("{medical: medical", "{ärztlich: medical")
    declared = CsvFormat.model_validate({"delimiter": delimiter, "encoding": encoding})
    spec = DatasetSpec.parse(f"{text}csv: {declared.model_dump_json()}\n")
    lines = ["years,ward,nights,crp,readmitted", "60,ärztlich,3.5,12,Y"]
    content = "\n".join(lines).replace(",", delimiter)
    read = table(written(tmp_path, content.encode(encoding)), tmp_path, spec)
    assert read.iloc[0].tolist() == [60, "ärztlich", 3.5, 12, "Y"]


def test_ignored_columns_may_be_there_and_are_not_read(tmp_path: Path) -> None:
    spec = HEART.model_copy(update={"ignore": ("patient",)})
    header, row, *_ = SHIPPED.read_text().splitlines()
    with_identifier = written(tmp_path, f"patient,{header}\nP-17,{row}\n".encode())
    assert "patient" not in table(with_identifier, tmp_path, spec).columns
    without = written(tmp_path, f"{header}\n{row}\n".encode(), "without.csv")
    assert len(table(without, tmp_path, spec)) == 1
