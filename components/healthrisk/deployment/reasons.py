"""Why something of a cluster's is not as it should be, in one line: out of what the cluster says of it."""

from typing import Any


def unrouted_reason(route: dict[str, Any] | None) -> str:
    """Return why the gateway does not send requests as a route says; empty if it does."""
    if route is None:
        return "it is not there"
    parents = route.get("status", {}).get("parents", [])
    conditions = [condition for parent in parents for condition in parent.get("conditions", [])]
    wanted = [one for one in conditions if one["type"] in {"Accepted", "ResolvedRefs"}]
    for one in wanted:
        if one.get("observedGeneration", 0) < route["metadata"]["generation"]:
            return "it has not looked at it yet"
        if one["status"] != "True":
            return f"{one['reason']}: {one.get('message', '')}"
    return "" if wanted else "it says nothing of it"


def container_reason(name: str, state: Any) -> str:
    """Return why a container waits or failed, with the last line of what it said; empty if it does neither."""
    cause = state.waiting or state.terminated
    if cause is None or cause.reason == "Completed":
        return ""
    lines = (cause.message or "").strip().splitlines()
    return f"{name}: {cause.reason} {lines[-1] if lines else ''}".strip()
