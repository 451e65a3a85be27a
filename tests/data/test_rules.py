"""One set of rules: a column's own check says what the check of a whole table says."""

import numpy as np
import pytest

from healthrisk import spec as specs
from healthrisk.bundle import parity
from healthrisk.data.rules import Rules


@pytest.mark.parametrize("name", specs.builtin_names())
def test_a_column_alone_is_judged_as_within_its_table(name: str) -> None:
    spec, rng = specs.load(name), np.random.default_rng(0)
    rules = Rules(spec)
    table = np.empty((len(spec.columns), 4000))
    for place, column in enumerate(spec.columns):
        low, high = column.range or (-1, len(column.codes) + 1)
        wide = rng.uniform(low - 0.2 * (high - low), high + 0.2 * (high - low), 4000)
        table[place] = np.where(rng.random(4000) < 0.5, np.round(wide), wide)
        table[place, :4] = (low, high, np.inf, -np.inf)
    # What means missing is a value like any other to a column's own check, which never sees one.
    given = table.copy()
    bad = rules.violations(table)
    for place in range(len(table)):
        known = ~np.isnan(table[place])
        np.testing.assert_array_equal(rules.allows(place, given[place, known]), ~bad[place, known])
        assert 0 < bad[place, known].mean() < 1


@pytest.mark.parametrize("name", specs.builtin_names())
def test_a_row_alone_is_allowed_where_every_value_is_there_and_its_table_breaks_no_rule(name: str) -> None:
    spec, rng = specs.load(name), np.random.default_rng(1)
    rules, rows = Rules(spec), parity.generate_rows(spec, 4000, 1)
    # In two of three rows one value is another: beyond its range, between two codes, or a fraction.
    for row in np.flatnonzero(rng.random(len(rows)) < 2 / 3):
        place = rng.integers(len(spec.columns))
        low, high = spec.columns[place].range or (-1, len(spec.columns[place].codes) + 1)
        rows[row, place] = rng.choice([low, high, low - 0.5, high + 0.5, low + 0.5, np.nextafter(high, np.inf)])
    given = [[None if np.isnan(value) else value for value in row] for row in rows.tolist()]
    table = rows.T.copy()
    fine = ~(rules.violations(table) | np.isnan(table)).any(axis=0)
    assert [rules.plainly_allow(row) for row in given] == fine.tolist()
    assert 0.1 < fine.mean() < 0.9
