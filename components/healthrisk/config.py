"""Where things lie: read from the environment, here and nowhere else.

Without any of these variables everything stays on this machine: SQLite for MLflow, a folder for bundles.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from healthrisk.errors import ConfigError

# quick: what follows from the trained models. full: also what fits models anew, and what must be downloaded.
Level = Literal["quick", "full"]
LEVELS: tuple[Level, ...] = ("quick", "full")
_DAY = 86400
# Of hexadecimal digits 128 bits.
LEAST_KEY = 32


@dataclass(frozen=True)
class Settings:
    """The places a process works with. Credentials of an object store stay in the environment."""

    home: Path
    data: Path | None
    tracking_uri: str
    bundles: str
    s3_endpoint: str
    s3_region: str
    revision: str
    evidence: Level
    retry_seconds: float
    events: Path | None
    keep_days: float
    outcomes: str
    alerts: str
    run: str
    receipt_keys: tuple[bytes, ...] = field(repr=False)


def settings() -> Settings:
    """Read the environment.

    The variables are HEALTHRISK_HOME, HEALTHRISK_DATA (a folder with sources' files, for machines that cannot
    download them), MLFLOW_TRACKING_URI, HEALTHRISK_BUNDLES, AWS_ENDPOINT_URL, AWS_REGION, HEALTHRISK_REVISION (the
    git revision an image was built from), EVIDENCE (how much of it a run gathers), HEALTHRISK_RETRY_SECONDS (how
    long what a busy or absent server did not do is tried again), HEALTHRISK_EVENTS (a file that steps report to),
    HEALTHRISK_KEEP_DAYS (how long a finished run's tables of patients are kept), HEALTHRISK_OUTCOMES (the database of
    outcomes), HEALTHRISK_ALERTS (the Alertmanager that is told of a run that fails), HEALTHRISK_RUN (the id by which
    Kubeflow Pipelines knows the run) and HEALTHRISK_RECEIPT_KEY (what signs receipts: one key or several, with white
    space between them; the first signs, all are believed).

    Raises:
        ConfigError: EVIDENCE is no level, HEALTHRISK_RETRY_SECONDS or HEALTHRISK_KEEP_DAYS no time, or a receipt's key
            too short.
    """
    home = Path(os.environ.get("HEALTHRISK_HOME") or ".healthrisk").absolute()
    return Settings(
        home=home,
        data=Path(data) if (data := os.environ.get("HEALTHRISK_DATA")) else None,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}",
        bundles=os.environ.get("HEALTHRISK_BUNDLES") or (home / "bundles").as_uri(),
        s3_endpoint=os.environ.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com",
        s3_region=os.environ.get("AWS_REGION") or "us-east-1",
        revision=os.environ.get("HEALTHRISK_REVISION", ""),
        evidence=level(os.environ.get("EVIDENCE") or LEVELS[0]),
        retry_seconds=_number("HEALTHRISK_RETRY_SECONDS", "5", _DAY, "seconds"),
        keep_days=_number("HEALTHRISK_KEEP_DAYS", "30", 36500, "days"),
        events=Path(events) if (events := os.environ.get("HEALTHRISK_EVENTS")) else None,
        outcomes=os.environ.get("HEALTHRISK_OUTCOMES") or f"sqlite:///{home / 'outcomes.db'}",
        alerts=os.environ.get("HEALTHRISK_ALERTS", ""),
        run=os.environ.get("HEALTHRISK_RUN", ""),
        receipt_keys=_keys(os.environ.get("HEALTHRISK_RECEIPT_KEY", "")),
    )


def _keys(text: str) -> tuple[bytes, ...]:
    keys = text.split()
    # Never quoted: what is too short for a key may still be someone's.
    if short := [place for place, key in enumerate(keys, 1) if len(key) < LEAST_KEY]:
        raise ConfigError(f"HEALTHRISK_RECEIPT_KEY: key {short[0]} is shorter than {LEAST_KEY} characters")
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
