"""Batch prediction of a table in fragments: for each one file of predictions, written exactly once.

A fragment's predictions are written aside and put in place whole, then its record. A run that was killed is run again:
what the record and the digests of input and output say is done stays as it is. Another version of the model, a fragment
that has changed and predictions that were altered are done anew.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from healthrisk import engine
from healthrisk.data import tables
from healthrisk.data.fragments import Fragment, at_hand, find_fragments
from healthrisk.data.output_folder import OutputFolder, open_output
from healthrisk.data.sources import sha256
from healthrisk.documents import Document
from healthrisk.errors import SourceError
from healthrisk.inference import batch
from healthrisk.inference.scorer import open_scorer

# Whoever reads the predictions as a table passes these over.
MANIFEST, RECORDS, REJECTS = "_manifest.json", "_manifest", "_rejects"


@dataclass(frozen=True)
class FragmentedJob:
    """What to read, where to write, and which bundle scores: its address and digest."""

    source: str
    out: str
    bundle: str
    digest: str
    strict: bool = False
    batch_rows: int = batch.BATCH_ROWS
    threads: int = 1
    progress: bool = True


class FragmentRecord(Document):
    """What became of a fragment: the digests of what was read and written, its rows, and the bundle that scored them.

    `etag` is what an object store calls the bytes read; `rejects` is empty where no row was rejected.
    """

    fragment: str
    input: str
    etag: str = ""
    output: str
    rejects: str = ""
    rows: int
    rejected_rows: int
    bundle: str


class PredictionManifest(Document):
    """All fragments of a table, predicted by one bundle; it is written when the last of them is there."""

    source: str
    version: str
    rows: int
    rejected_rows: int
    fragments: tuple[FragmentRecord, ...]


class FragmentedSummary(Document):
    """What a job did: fragments and rows in all, what was done before and skipped, and the speed of the others."""

    fragments: int
    skipped_fragments: int
    rows: int
    rejected_rows: int
    seconds: float
    rows_per_second: int
    out: str
    manifest: str
    version: str
    signature: str


@dataclass(frozen=True)
class _Work:
    """One fragment of a job, and the columns that it must have."""

    job: FragmentedJob
    fragment: Fragment
    columns: tuple[str, ...]


@dataclass(frozen=True)
class _Done:
    record: FragmentRecord
    skipped: bool


def predict_fragments(job: FragmentedJob) -> FragmentedSummary:
    """Score every row of every fragment.

    Raises:
        SourceError: a fragment cannot be read, or has other columns than the first; or the folder cannot be written,
            or holds predictions of a fragment that is not there.
        ValidationError: a row is not valid, and the job is strict.
    """
    began = time.perf_counter()
    fragments = find_fragments(job.source)
    out = _open(job, fragments)
    bundle = open_scorer(job.bundle, job.digest, job.threads).bundle
    with at_hand(fragments[0]) as path:
        columns = tuple(tables.columns_of(path, bundle.spec.csv))
    out.remove(MANIFEST)
    work = (_Work(job, fragment, columns) for fragment in fragments)
    with engine.connect(job.out, job.bundle, fragments[0].uri) as tasks:
        shown = tqdm(tasks.map(_score, work), total=len(fragments), unit="file", disable=None if job.progress else True)
        done = list(shown)
    records = tuple(each.record for each in done)
    rows, rejected = sum(each.rows for each in records), sum(each.rejected_rows for each in records)
    manifest = PredictionManifest(
        source=job.source, version=bundle.version, rows=rows, rejected_rows=rejected, fragments=records
    )
    with out.scratch() as scratch:
        _put_document(out, scratch, manifest, MANIFEST)
    seconds = time.perf_counter() - began
    return FragmentedSummary(
        fragments=len(done),
        skipped_fragments=sum(each.skipped for each in done),
        rows=rows,
        rejected_rows=rejected,
        seconds=round(seconds, 3),
        rows_per_second=round(sum(each.record.rows for each in done if not each.skipped) / seconds),
        out=job.out,
        manifest=f"{job.out.rstrip('/')}/{MANIFEST}",
        version=bundle.version,
        signature=bundle.signature,
    )


def _open(job: FragmentedJob, fragments: Sequence[Fragment]) -> OutputFolder:
    """Return where predictions go, if nothing speaks against it."""
    if job.source.rstrip("/") == job.out.rstrip("/") or Path(job.source).resolve() == Path(job.out).resolve():
        raise SourceError(f"{job.out}: expected another folder than that of the table")
    out = open_output(job.out)
    known = {f"{fragment.name}.json" for fragment in fragments}
    if foreign := [name for name in out.names(RECORDS) if name not in known]:
        raise SourceError(
            f"{job.out} holds predictions of {foreign[0].removesuffix('.json')}, which is not in {job.source}: "
            "give another folder, or remove them"
        )
    return out


def _score(work: _Work) -> _Done:
    """Score one fragment, unless that was done."""
    fragment, out = work.fragment, open_output(work.job.out)
    if known := _finished(work, out):
        return _Done(known, skipped=True)
    with at_hand(fragment) as path, out.scratch() as scratch:
        return _Done(_write(work, out, path, scratch), skipped=False)


def _finished(work: _Work, out: OutputFolder) -> FragmentRecord | None:
    """Return a fragment's record if it was scored by the same bundle, and neither it nor what was written changed."""
    fragment = work.fragment
    if not (text := out.read(f"{RECORDS}/{fragment.name}.json")):
        return None
    known = FragmentRecord.model_validate_json(text)
    if known.bundle != work.job.digest or out.digest(fragment.name) != known.output:
        return None
    if out.digest(_rejects_of(fragment)) != known.rejects:
        return None
    # An object store knows that an object is the same; a file is read.
    same = known.etag == fragment.etag if fragment.etag else known.input == sha256(Path(fragment.uri))
    return known if same else None


def _write(work: _Work, out: OutputFolder, path: Path, scratch: Path) -> FragmentRecord:
    job, fragment = work.job, work.fragment
    scorer = open_scorer(job.bundle, job.digest, job.threads)
    spec = scorer.bundle.spec
    columns = tables.columns_of(path, spec.csv)
    if differing := sorted({*columns} ^ {*work.columns}):
        raise SourceError(
            f"{fragment.uri} has other columns than the first fragment: {', '.join(map(repr, differing))}"
        )
    digest = sha256(path)
    scored, rejects = scratch / fragment.name, scratch / "_rejects.csv"
    summary = batch.predict(
        batch.Job(path, scored, rejects, job.strict, job.batch_rows, progress=False), spec, scorer.probabilities
    )
    refused = ""
    if summary.rejects:
        refused = out.put(rejects, _rejects_of(fragment))
    else:
        out.remove(_rejects_of(fragment))
    record = FragmentRecord(
        fragment=fragment.name,
        input=digest,
        etag=fragment.etag,
        output=out.put(scored, fragment.name),
        rejects=refused,
        rows=summary.rows,
        rejected_rows=summary.rejected_rows,
        bundle=job.digest,
    )
    _put_document(out, scratch, record, f"{RECORDS}/{fragment.name}.json")
    return record


def _put_document(out: OutputFolder, scratch: Path, document: Document, name: str) -> None:
    document.write(scratch / "_document.json")
    out.put(scratch / "_document.json", name)


def _rejects_of(fragment: Fragment) -> str:
    return f"{REJECTS}/{fragment.name.rpartition('.')[0]}.csv"
