"""One set of rules: a column's own check says what the check of a whole table says."""

import numpy as np
import pytest

from healthrisk import spec as specs
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
