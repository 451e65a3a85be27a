"""Sums of numbers that come out the same however rows are parted into fragments: exact, and rounded once at the end.

Floats are rounded at every addition, one way in one order and another in the next. So whole numbers are added: every
float64 is one, in units of 2**-1127 (the smallest is 2**-1074, and its 53 digits go 53 places further).
"""

import numpy as np
from numpy.typing import NDArray

# Larger numbers have squares that are not finite.
LARGEST = 1e150
_SCALE = 1127
_HALF = 26
_ROWS_AT_ONCE = 2**20


def exact_sum(values: NDArray[np.float64]) -> int:
    """Return the sum of finite values [rows] in units of 2**-1127."""
    return sum(_add(values[start : start + _ROWS_AT_ONCE]) for start in range(0, len(values), _ROWS_AT_ONCE))


def rounded(total: int, divisor: int = 1) -> float:
    """Return the float64 nearest to a sum in units of 2**-1127, divided by a whole number."""
    return total / (divisor << _SCALE)


def _add(values: NDArray[np.float64]) -> int:
    if float(np.abs(values).max()) * len(values) < 2**53 and bool((values == np.floor(values)).all()):
        return int(values.sum()) << _SCALE
    fractions, exponents = np.frexp(values)
    whole = np.ldexp(fractions, 53).astype(np.int64)
    lowest = int(exponents.min())
    # In two halves, which float64 adds without rounding.
    upper = np.bincount(exponents - lowest, whole >> _HALF)
    lower = np.bincount(exponents - lowest, whole & (2**_HALF - 1))
    total = 0
    for place, (high, low) in enumerate(zip(upper.tolist(), lower.tolist(), strict=True)):
        total += ((int(high) << _HALF) + int(low)) << (lowest + place + _SCALE - 53)
    return total
