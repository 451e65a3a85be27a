"""What a model's probabilities are worth if they still mean what they meant: an estimate without outcomes.

Confidence-based performance estimation (CBPE, of NannyML's documentation, "Estimation of performance of the monitored
model"): probabilities are calibrated on validation's outcomes, here by logistic recalibration (Platt 1999), and each
prediction then counts as an event by its probability, and as none by the rest. So it follows a shift of who comes.
It cannot follow concept drift, in which the same values lead to other outcomes.
"""

import numpy as np
from scipy import special

from healthrisk.documents import Document
from healthrisk.monitoring.figures import Bins, Counts, OperatingPoint, area, brier, operating
from healthrisk.monitoring.recalibration import Recalibration, fit
from healthrisk.receipts.validation_bins import EDGE
from healthrisk.training.intervals import Estimate

# Said wherever an estimate is shown.
BLIND = "estimated without outcomes, blind to concept drift"


class Estimated(Document):
    """What `rows` served predictions are worth if probabilities mean what they did in validation.

    `events` is the expected number. An interval is that of so many outcomes, as if they had come; that of the
    calibration is left out.
    """

    rows: int
    events: float
    roc_auc: Estimate
    brier: Estimate
    operating: tuple[OperatingPoint, ...]


def estimate(validated: Bins, served: Counts, acting_from: tuple[float, ...], min_cases: int) -> Estimated | None:
    """Return the estimate for predictions by bin [50]; None where fewer than `min_cases` of either are expected."""
    expected = _expected(validated, served)
    if min(expected.events.sum(), expected.others.sum()) < max(min_cases, 1):
        return None
    return Estimated(
        rows=int(served.sum()),
        events=float(expected.events.sum()),
        roc_auc=area(expected),
        brier=brier(expected),
        operating=tuple(operating(expected, at) for at in dict.fromkeys(acting_from)),
    )


def _expected(validated: Bins, served: Counts) -> Bins:
    logit = special.logit(np.clip(validated.means, EDGE, 1 - EDGE))
    by = fit(logit, validated, Recalibration(0.0, 1.0))
    chance = special.expit(by.intercept + by.slope * logit)
    return validated.of(served * chance, served * (1 - chance))
