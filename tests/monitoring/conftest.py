"""The databases that outcomes are counted in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each kind of database, empty."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/some/outcomes.db"
        return
    server = request.getfixturevalue("postgres")
    yield server
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS outcome_receipts, outcome_counts, served_counts"))
    engine.dispose()
