"""Where things lie: read from the environment, here and nowhere else.

Without any of these variables everything stays on this machine: SQLite for MLflow, a folder for bundles.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from healthrisk.errors import ConfigError

# quick: what follows from the trained models. full: also what fits models anew, and what must be downloaded.
Level = Literal["quick", "full"]
LEVELS: tuple[Level, ...] = ("quick", "full")
# What a server does with a request that it cannot write down: answer 503, or answer all the same, and count it.
WhenUnrecorded = Literal["refuse", "answer"]
WHEN_UNRECORDED: tuple[WhenUnrecorded, ...] = ("refuse", "answer")
_DAY = 86400
# Of hexadecimal digits 128 bits.
LEAST_KEY = 32
# What comes before the name of a key of the store's key management.
KMS = "aws:kms:"


@dataclass(frozen=True)
class Settings:
    """The places a process works with. Credentials of an object store stay in the environment."""

    home: Path
    # A folder with sources' files, for machines that cannot download them.
    data: Path | None
    # MLflow's.
    tracking_uri: str
    bundles: str
    s3_endpoint: str
    s3_region: str
    # How the store is asked to encrypt what is put into it; empty: as the bucket says by itself.
    s3_encryption: str
    # The git revision that an image was built from.
    revision: str
    # How much of it a run gathers.
    evidence: Level
    # How long what a busy or absent server did not do is tried again.
    retry_seconds: float
    # A file that steps report to.
    events: Path | None
    # How long a finished run's tables of patients are kept.
    keep_days: float
    # The database of outcomes.
    outcomes: str
    # The Alertmanager that is told of a run that fails.
    alerts: str
    # The id by which Kubeflow Pipelines knows the run.
    run: str
    # The first signs receipts, all are believed.
    receipt_keys: tuple[bytes, ...] = field(repr=False)
    # The scheduler of a Dask cluster that does the work, in place of this process.
    dask: str
    # A folder with what it takes to speak to one at tls://: ca.crt, tls.crt and tls.key, as in a secret of Kubernetes.
    dask_certificates: Path | None
    # The folder of the record of use.
    records: Path | None
    # Of the digests in it: the first is used, all are searched by.
    record_keys: tuple[bytes, ...] = field(repr=False)
    # What becomes of a request that cannot be written down.
    when_unrecorded: WhenUnrecorded
    # Where it is written down who did what: file:///FOLDER or s3://BUCKET/PREFIX.
    actions: str
    # What signs bundles, and who is believed to have signed them, one key or several: PEM, or the path of a file of it.
    bundle_signing_key: str = field(repr=False)
    bundle_public_keys: str

    @property
    def registry_file(self) -> Path | None:
        """The file of MLflow's registry, where it is no server's."""
        return Path(self.tracking_uri.removeprefix("sqlite:///")) if self.tracking_uri.startswith("sqlite:") else None


def settings() -> Settings:
    """Read the environment.

    Several keys have white space between them.

    Raises:
        ConfigError: EVIDENCE is no level, HEALTHRISK_RETRY_SECONDS or HEALTHRISK_KEEP_DAYS no time, HEALTHRISK_DASK no
            address, a key too short, or HEALTHRISK_UNRECORDED or HEALTHRISK_S3_ENCRYPTION none of its words.
    """
    home = Path(os.environ.get("HEALTHRISK_HOME") or ".healthrisk").absolute()
    records = Path(folder).absolute() if (folder := os.environ.get("HEALTHRISK_RECORDS")) else None
    return Settings(
        home=home,
        data=Path(data) if (data := os.environ.get("HEALTHRISK_DATA")) else None,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}",
        bundles=os.environ.get("HEALTHRISK_BUNDLES") or (home / "bundles").as_uri(),
        s3_endpoint=os.environ.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com",
        s3_region=os.environ.get("AWS_REGION") or "us-east-1",
        s3_encryption=_s3_encryption(os.environ.get("HEALTHRISK_S3_ENCRYPTION", "")),
        revision=os.environ.get("HEALTHRISK_REVISION", ""),
        evidence=level(os.environ.get("EVIDENCE") or LEVELS[0]),
        retry_seconds=_number("HEALTHRISK_RETRY_SECONDS", "5", _DAY, "seconds"),
        keep_days=_number("HEALTHRISK_KEEP_DAYS", "30", 36500, "days"),
        events=Path(events) if (events := os.environ.get("HEALTHRISK_EVENTS")) else None,
        outcomes=os.environ.get("HEALTHRISK_OUTCOMES") or f"sqlite:///{home / 'outcomes.db'}",
        alerts=os.environ.get("HEALTHRISK_ALERTS", ""),
        run=os.environ.get("HEALTHRISK_RUN", ""),
        receipt_keys=_keys("HEALTHRISK_RECEIPT_KEY"),
        dask=_dask(os.environ.get("HEALTHRISK_DASK", "")),
        dask_certificates=Path(folder) if (folder := os.environ.get("HEALTHRISK_DASK_CERTIFICATES")) else None,
        records=records,
        record_keys=_keys("HEALTHRISK_RECORD_KEY"),
        when_unrecorded=_when_unrecorded(os.environ.get("HEALTHRISK_UNRECORDED") or WHEN_UNRECORDED[0]),
        actions=os.environ.get("HEALTHRISK_ACTIONS") or (records or home / "records").as_uri(),
        bundle_signing_key=os.environ.get("HEALTHRISK_BUNDLE_SIGNING_KEY", "").strip(),
        bundle_public_keys=os.environ.get("HEALTHRISK_BUNDLE_PUBLIC_KEY", "").strip(),
    )


def _when_unrecorded(text: str) -> WhenUnrecorded:
    if text not in WHEN_UNRECORDED:
        raise ConfigError(f"HEALTHRISK_UNRECORDED {text!r}: expected {' or '.join(WHEN_UNRECORDED)}")
    return text


def _s3_encryption(text: str) -> str:
    if text and not re.fullmatch(rf"AES256|{KMS}\S+", text):
        raise ConfigError(f"HEALTHRISK_S3_ENCRYPTION {text!r}: expected AES256 or {KMS}KEY")
    return text


def _dask(text: str) -> str:
    if text and not re.fullmatch(r"(tcp|tls)://[^/\s]+:\d+", text):
        raise ConfigError(f"HEALTHRISK_DASK {text!r}: expected tcp://HOST:PORT or tls://HOST:PORT")
    return text


def _keys(variable: str) -> tuple[bytes, ...]:
    keys = os.environ.get(variable, "").split()
    # Never quoted: what is too short for a key may still be someone's.
    if short := [place for place, key in enumerate(keys, 1) if len(key) < LEAST_KEY]:
        raise ConfigError(f"{variable}: key {short[0]} is shorter than {LEAST_KEY} characters")
    return tuple(key.encode() for key in keys)


def _number(name: str, default: str, most: int, unit: str) -> float:
    text = os.environ.get(name) or default
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise ConfigError(f"{name} {text!r}: expected {unit} from 0 to {most}")
    return number


def level(text: str) -> Level:
    """Read a level of evidence.

    Raises:
        ConfigError: it is none.
    """
    if text not in LEVELS:
        raise ConfigError(f"level of evidence {text!r}: expected {' or '.join(LEVELS)}")
    return text
