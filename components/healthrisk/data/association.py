"""How strongly columns go together, the outcome among them: one figure from 0 to 1 for any two, numbers or codes.

Two numbers: the size of Spearman's rank correlation. Two codes: Cramer's V, corrected for chance (Bergsma, J Korean
Stat Soc 42, 2013). A code and a number: the correlation ratio of its ranks. Rows that lack one of the two values say
nothing.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from healthrisk.documents import Document
from healthrisk.spec import DatasetSpec

# More rows than this change nothing that a picture shows.
ROWS = 5_000
# More columns than this nobody can read: the others are those that go least with the outcome.
COLUMNS = 30
_FEWEST = 10
Values = NDArray[np.float64]


class Associations(Document):
    """The strength [columns, columns] of the association of any two columns, by label; the outcome comes last."""

    labels: tuple[str, ...]
    strengths: tuple[tuple[float, ...], ...]
    rows: int


def measure(spec: DatasetSpec, matrix: Values, y: NDArray[np.int64]) -> Associations:
    """Return the associations within an encoded matrix [rows, features] and class positions [rows]."""
    columns = [*matrix.T, y.astype(np.float64)]
    codes = [*(column.kind == "code" for column in spec.columns), True]
    labels = [*(column.label for column in spec.columns), spec.target.label]
    with_outcome = [strength(column, columns[-1], code, True) for column, code in zip(columns, codes, strict=True)]
    strongest = np.argsort(-np.array(with_outcome[:-1]), kind="stable")[:COLUMNS]
    shown = [*sorted(strongest.tolist()), len(columns) - 1]
    strengths = np.eye(len(shown))
    for one, place in enumerate(shown):
        for other in range(one):
            second = shown[other]
            strengths[one, other] = strengths[other, one] = strength(
                columns[place], columns[second], codes[place], codes[second]
            )
    return Associations(
        labels=tuple(labels[place] for place in shown), strengths=tuple(map(tuple, strengths.tolist())), rows=len(y)
    )


def strength(one: Values, other: Values, one_is_code: bool, other_is_code: bool) -> float:
    """Return the strength of two columns' association, 0 where too few rows or values say anything."""
    known = ~(np.isnan(one) | np.isnan(other))
    a, b = one[known], other[known]
    if len(a) < _FEWEST or (a == a[0]).all() or (b == b[0]).all():
        return 0.0
    if one_is_code and other_is_code:
        return _cramer(a, b)
    if one_is_code or other_is_code:
        code, number = (a, b) if one_is_code else (b, a)
        return _ratio(code, stats.rankdata(number))
    return abs(float(stats.spearmanr(a, b).statistic))


def _cramer(a: Values, b: Values) -> float:
    table = stats.contingency.crosstab(a, b).count
    n, (rows, columns) = len(a), table.shape
    phi = max(
        0.0, float(stats.chi2_contingency(table, correction=False).statistic) / n - (rows - 1) * (columns - 1) / (n - 1)
    )
    fewest = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return min(1.0, float(np.sqrt(phi / fewest))) if fewest > 0 else 0.0


def _ratio(code: Values, ranks: Values) -> float:
    _, places = np.unique(code, return_inverse=True)
    sizes = np.bincount(places)
    means = np.bincount(places, ranks) / sizes
    between = float((sizes * (means - ranks.mean()) ** 2).sum())
    return float(np.sqrt(between / ((ranks - ranks.mean()) ** 2).sum()))
