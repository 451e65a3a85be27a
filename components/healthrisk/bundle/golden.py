"""Rows with known answers, which a server replays before it says that it is ready."""

from healthrisk.documents import Document


class Golden(Document):
    """Generated rows and what the bundle answers to them.

    `rows` [rows, features] are raw values in the order of `features`, None where missing; `probability` [rows,
    classes]; `prediction` [rows] holds the classes' values and `risk_level` [rows] the names of levels.
    """

    features: tuple[str, ...]
    rows: tuple[tuple[float | str | None, ...], ...]
    probability: tuple[tuple[float, ...], ...]
    prediction: tuple[int | str, ...]
    risk_level: tuple[str, ...]
