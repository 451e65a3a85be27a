"""Where outcomes are counted: PostgreSQL, or an SQLite file at home. No patient's row is in it.

Of a receipt its digest is kept, with the class that came with it, so that it counts once. Everything else are counts by
version, month of prediction, day of arrival, group, label, bin and whether the label came true; and of predictions, by
version, day, label and bin, which outcomes are a share of.
"""

import contextlib
import datetime
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from healthrisk.errors import StoreError

_TABLES = sa.MetaData()
_RECEIPTS = sa.Table(
    "outcome_receipts",
    _TABLES,
    sa.Column("number", sa.LargeBinary(16), primary_key=True),
    sa.Column("outcome", sa.SmallInteger, nullable=False),
)
_COUNTS = sa.Table(
    "outcome_counts",
    _TABLES,
    sa.Column("model", sa.String(40), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("month", sa.String(7), primary_key=True),
    sa.Column("arrived", sa.Date, primary_key=True),
    sa.Column("grouping", sa.String(63), primary_key=True),
    sa.Column("group", sa.String(200), primary_key=True),
    sa.Column("label", sa.String(200), primary_key=True),
    sa.Column("bin", sa.SmallInteger, primary_key=True),
    sa.Column("happened", sa.Boolean, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)
_SERVED = sa.Table(
    "served_counts",
    _TABLES,
    sa.Column("model", sa.String(40), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("label", sa.String(200), primary_key=True),
    sa.Column("bin", sa.SmallInteger, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)
_SECONDS_TO_WAIT = 60


class Cell(NamedTuple):
    """What one count is of. Of all rows, `grouping` and `group` are empty."""

    model: str
    digest: str
    month: str
    arrived: datetime.date
    grouping: str
    group: str
    label: str
    bin: int
    happened: bool


class ServedCell(NamedTuple):
    """What one count of predictions is of."""

    model: str
    digest: str
    day: datetime.date
    label: str
    bin: int


@dataclass(frozen=True)
class Arrival:
    """One returned outcome: the receipt's number, the outcome's class position, and the cells it counts in."""

    number: bytes
    outcome: int
    cells: tuple[Cell, ...]


class OutcomeStore:
    """The counts of one platform."""

    def __init__(self, address: str) -> None:
        """Open the store, and make its tables where they are missing.

        Raises:
            StoreError: the address is none of SQLite or PostgreSQL, or the database does not answer.
        """
        try:
            url = sa.make_url(address)
        except ArgumentError:
            # Without the address, which may hold a password.
            raise StoreError(
                "HEALTHRISK_OUTCOMES: expected sqlite:///FILE or postgresql+psycopg2://HOST/NAME"
            ) from None
        if url.get_backend_name() not in {"sqlite", "postgresql"}:
            raise StoreError(f"HEALTHRISK_OUTCOMES: {url.get_backend_name()!r} is neither sqlite nor postgresql")
        if url.drivername == "postgresql":
            # The driver that is installed; SQLAlchemy's own choice is another.
            url = url.set(drivername="postgresql+psycopg2")
        self._where = url.render_as_string(hide_password=True)
        self._is_sqlite = url.get_backend_name() == "sqlite"
        if self._is_sqlite and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        # SQLite waits for another writer, PostgreSQL for the server.
        waiting = {"timeout": _SECONDS_TO_WAIT} if self._is_sqlite else {"connect_timeout": _SECONDS_TO_WAIT}
        with self._translated():
            self._engine = sa.create_engine(url, connect_args=waiting, pool_pre_ping=not self._is_sqlite)
            if self._is_sqlite:
                _begin_at_once(self._engine)
            with self._begin() as connection:
                if not self._is_sqlite:
                    # Two that start at once would both create the tables.
                    connection.execute(sa.text("SELECT pg_advisory_xact_lock(71640213)"))
                _TABLES.create_all(connection)

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    def add(self, arrivals: Mapping[bytes, Arrival]) -> dict[bytes, int]:
        """Count outcomes in one transaction: all of them, or after a kill none.

        Returns the class that was counted before, by number, of the receipts that were known already; they change
        nothing.

        Raises:
            StoreError: the database does not answer, or refuses.
        """
        if not arrivals:
            return {}
        # In one order, so that two who write at once wait for each other instead of locking each other out.
        rows = [{"number": number, "outcome": arrivals[number].outcome} for number in sorted(arrivals)]
        with self._begin() as connection:
            insert = self._insert(_RECEIPTS).on_conflict_do_nothing()
            fresh = set(connection.scalars(insert.returning(_RECEIPTS.c.number), rows).all())
            known = [number for number in arrivals if number not in fresh]
            asked = sa.select(_RECEIPTS.c.number, _RECEIPTS.c.outcome).where(_RECEIPTS.c.number.in_(known))
            before = {bytes(number): int(outcome) for number, outcome in connection.execute(asked)} if known else {}
            self._count(connection, Counter(cell for number in fresh for cell in arrivals[number].cells))
        return before

    def counts(self, model: str) -> dict[Cell, int]:
        """Return every count of a model.

        Raises:
            StoreError: the database does not answer.
        """
        with self._begin() as connection:
            rows = connection.execute(sa.select(_COUNTS).where(_COUNTS.c.model == model))
            return {Cell(*row[:-1]): row[-1] for row in rows}

    def note_served(self, served: Mapping[ServedCell, int]) -> None:
        """Note how many predictions were served on days; of what is noted twice the larger count stays.

        Raises:
            StoreError: the database does not answer.
        """
        if not served:
            return
        insert = self._insert(_SERVED)
        given = insert.excluded["count"]
        more = {"count": sa.case((given > _SERVED.c.count, given), else_=_SERVED.c.count)}
        upsert = insert.on_conflict_do_update(index_elements=list(_SERVED.primary_key), set_=more)
        with self._begin() as connection:
            connection.execute(upsert, [{**cell._asdict(), "count": count} for cell, count in sorted(served.items())])

    def served(self, model: str) -> dict[ServedCell, int]:
        """Return how many predictions of a model are known to have been served.

        Raises:
            StoreError: the database does not answer.
        """
        with self._begin() as connection:
            rows = connection.execute(sa.select(_SERVED).where(_SERVED.c.model == model))
            return {ServedCell(*row[:-1]): row[-1] for row in rows}

    def models(self) -> list[str]:
        """Return the models of which outcomes have been counted, or predictions."""
        with self._begin() as connection:
            asked = sa.select(_COUNTS.c.model).union(sa.select(_SERVED.c.model))
            return sorted(connection.scalars(asked))

    def _count(self, connection: sa.Connection, cells: Counter[Cell]) -> None:
        if not cells:
            return
        insert = self._insert(_COUNTS)
        add = {"count": _COUNTS.c.count + insert.excluded["count"]}
        upsert = insert.on_conflict_do_update(index_elements=list(_COUNTS.primary_key), set_=add)
        connection.execute(upsert, [{**cell._asdict(), "count": count} for cell, count in sorted(cells.items())])

    def _insert(self, table: sa.Table) -> Any:
        return (sqlite if self._is_sqlite else postgresql).insert(table)

    @contextlib.contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            # The first line: the others quote the statement with its values.
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise StoreError(f"outcomes in {self._where}: {reason}") from None


def _begin_at_once(engine: sa.Engine) -> None:
    """Take SQLite's lock when a transaction begins: one that reads before it writes may find it taken by another."""

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
