"""What a rollout is: a champion, its challenger, and the shares of requests that the challenger gets one after another.

The model's way in bears it as one document, so that whoever looks next goes on where the last one stood.
"""

import datetime
import itertools
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError, field_validator

from healthrisk.deployment.cluster import Deployed
from healthrisk.documents import Document
from healthrisk.errors import ConfigError

WHOLE = 100
# weighing: the challenger has its weight. promoting: it has everything, and becomes the champion. closing: it is, and
# the way in leads to the champion's servers again. returned: the champion has everything; `reason` says why.
Phase = Literal["weighing", "promoting", "closing", "returned"]
Header = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{0,64}$")]


class Plan(Document):
    """Which weights a challenger gets, and what each must show before the next.

    A weight is the challenger's share of requests in percent; of the weight 0 it is mirrored all of them, and nobody
    hears its answers. Each is held for `hold_seconds` and `requests` at least. `failed` and `slow` are objectives: the
    shares of requests that may fail, and that may take more than 200 ms. By the last two hexadecimal digits of the
    header `sticky` a caller stays with one version.
    """

    weights: tuple[int, ...] = (1, 10, 50, 100)
    sticky: Header = ""
    hold_seconds: float = Field(default=600.0, ge=0)
    requests: int = Field(default=100, ge=1)
    failed: float = Field(default=0.001, ge=0, le=1)
    slow: float = Field(default=0.01, ge=0, le=1)

    @field_validator("weights")
    @classmethod
    def _rise(cls, weights: tuple[int, ...]) -> tuple[int, ...]:
        rising = all(one < other for one, other in itertools.pairwise(weights))
        if not weights or not rising or weights[0] < 0 or weights[-1] != WHOLE:
            raise ValueError("expected whole numbers from 0 up that rise to 100, such as 1,10,50,100")
        return weights

    @classmethod
    def of(cls, weights: str, **given: Any) -> Self:
        """Return the plan of what a person wrote, the weights with commas between them.

        Raises:
            ConfigError: a value cannot be used.
        """
        try:
            return cls.model_validate({"weights": weights.split(","), **given})
        except ValidationError as error:
            wrong = error.errors()[0]
            value = weights if wrong["loc"][0] == "weights" else wrong["input"]
            reason = wrong["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{wrong['loc'][0]} {value!r}: {reason}") from None


class Rollout(Document):
    """Where a rollout stands: the version served, its challenger, and which of the weights is in force, since when."""

    champion: Deployed
    challenger: Deployed
    plan: Plan
    place: int = 0
    phase: Phase = "weighing"
    since: AwareDatetime
    reason: str = ""

    @property
    def weight(self) -> int:
        """The challenger's share in force, in percent."""
        return {"promoting": WHOLE, "weighing": self.plan.weights[self.place]}.get(self.phase, 0)

    @property
    def is_shared(self) -> bool:
        """Whether requests go to the challenger's own servers."""
        return self.phase in {"weighing", "promoting"}

    @property
    def is_under_way(self) -> bool:
        """Whether it has not come to its end."""
        return self.phase != "returned"

    def next_weight(self, now: datetime.datetime) -> Self:
        """Return it with the next of its weights in force from `now` on."""
        return self.model_copy(update={"place": self.place + 1, "since": now})

    def entering(self, phase: Phase, now: datetime.datetime, reason: str = "") -> Self:
        """Return it in another phase from `now` on."""
        return self.model_copy(update={"phase": phase, "since": now, "reason": reason})
