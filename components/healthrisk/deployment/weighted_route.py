"""A model's way in while two versions share its requests: the site's own HTTPRoute with each backend twice.

Every rule leads to a whole pair of servers: what enters the champion's transformer goes to the champion's predictor.
The template's rules keep their places, as the gateway names what it sends them to by these.
"""

import copy
from typing import Any

from healthrisk.deployment.rollout_plan import WHOLE, Rollout

# An HTTPRoute of Kubernetes, or a part of one.
Resource = dict[str, Any]
# Of two hexadecimal digits.
_CELLS = 256
_DIGITS = "0123456789abcdef"


def weighted(own: Resource, other: Resource, rollout: Rollout) -> Resource:
    """Return the champion's route such that its challenger has its weight.

    Args:
        own: The route of the champion, after the site's template.
        other: The same of the challenger: in its rules stand the challenger's backends.
        rollout: Which weight is in force.
    """
    route = copy.deepcopy(own)
    if not rollout.is_shared:
        return route
    rules = route["spec"]["rules"]
    pairs = [
        (rule["backendRefs"], theirs["backendRefs"]) for rule, theirs in zip(rules, other["spec"]["rules"], strict=True)
    ]
    weight = rollout.weight
    sticky = [
        split
        for rule, backends in zip(own["spec"]["rules"], pairs, strict=True)
        if rollout.plan.sticky and 0 < weight < WHOLE
        for split in _sticky(rule, *backends, rollout)
    ]
    for rule, (champion, challenger) in zip(rules, pairs, strict=True):
        rule["backendRefs"] = [*_weighing(champion, WHOLE - weight), *_weighing(challenger, weight)]
        if weight == 0:
            rule["filters"] = [*rule.get("filters", []), *map(_mirror, challenger)]
    route["spec"]["rules"] = [*rules, *sticky]
    return route


def _weighing(backends: list[Resource], weight: int) -> list[Resource]:
    return [{**backend, "weight": weight} for backend in backends]


def _mirror(backend: Resource) -> Resource:
    return {"type": "RequestMirror", "requestMirror": {"backendRef": {**backend}}}


def _sticky(rule: Resource, champion: list[Resource], challenger: list[Resource], rollout: Rollout) -> list[Resource]:
    """Return two rules for callers who send the header: those of the challenger's digits, then all others.

    A route's rule that asks for a header goes before one that does not, and of two such the first.
    """
    return [
        {**_asking(rule, rollout.plan.sticky, digits(rollout.weight)), "backendRefs": _weighing(challenger, 1)},
        {**_asking(rule, rollout.plan.sticky, ".*[0-9a-fA-F]{2}"), "backendRefs": _weighing(champion, 1)},
    ]


def _asking(rule: Resource, header: str, value: str) -> Resource:
    asked = {"type": "RegularExpression", "name": header, "value": value}
    matches = [{**match, "headers": [*match.get("headers", []), asked]} for match in rule["matches"]]
    return {**copy.deepcopy(rule), "matches": matches}


def digits(weight: int) -> str:
    """Return the expression of a share, in percent, of all texts that end in two hexadecimal digits.

    A larger share holds every smaller one: who has met the challenger stays with it.
    """
    cells = max(1, round(weight * _CELLS / WHOLE))
    rows, rest = divmod(cells, len(_DIGITS))
    parts = [f"[{_both(_DIGITS[:rows])}][0-9a-fA-F]"] if rows else []
    if rest:
        parts.append(f"[{_both(_DIGITS[rows])}][{_both(_DIGITS[:rest])}]")
    return f".*(?:{'|'.join(parts)})"


def _both(text: str) -> str:
    return text + "".join(letter.upper() for letter in text if letter.isalpha())
