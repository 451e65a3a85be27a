"""A spec's text: YAML or JSON in which every key stands once, what is wrong with it in words, and values written."""

import re
from collections.abc import Hashable
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from healthrisk.errors import SpecError

# libyaml's, where PyYAML was built with it, reads a spec in a quarter of the time.
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A spec needs six levels. Either loader takes its stack for each, and libyaml's ends the process where that is used up.
_DEEPEST = 50


def mapping(document: str) -> dict[str, Any]:
    """Read a YAML or JSON mapping.

    Raises:
        SpecError: the text is none, has a key twice, or is nested too deeply.
    """
    try:
        _check_depth(document)
        data = yaml.load(document, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise SpecError(f"the spec is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise SpecError(f"the spec must be a YAML mapping, not {type(data).__name__}")
    return data


def _check_depth(document: str) -> None:
    depth = 0
    for event in yaml.parse(document, Loader=SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise SpecError(f"the spec is nested more than {_DEEPEST} levels deep")


def explain(error: ValidationError) -> str:
    """Say every fault that pydantic found: the field, the rule and the value given."""
    problems = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"]) or "spec"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden" and (now := _MOVED.get(str(problem["loc"][-1]))):
            message = f"since version 0.2 it is {now}"
        given = "" if isinstance(problem["input"], dict | list | tuple | BaseModel) else f", got {problem['input']!r}"
        problems.append(f"{place}: {message}{given}")
    return "; ".join(problems)


def in_block(value: Any) -> str:
    """Return a value as one line of YAML, as it stands after a key."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def in_flow(value: Any) -> str:
    """Return a value as it stands within brackets or braces, where more needs quotes than on a line of its own."""
    return in_block([value])[1:-1]


def quoted(text: str) -> str:
    """Return a text in quotes."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10_000).strip()


def short(value: float) -> float | int:
    """Return a number with six digits at most, a whole one as such."""
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded.is_integer() else rounded


# Where a field went that specs of version 0.1 have.
_MOVED = {
    "risk": "risk_direction",
    "recodings": "foreign_encodings",
    "reduced": "ablations",
    "fairness": "min_cases of the evidence, and a gate: {metric: sensitivity_difference, max: ...}",
    "suspect_labels": "a gate: {metric: suspect_labels, max: ...}",
}


class _UniqueKeys(SafeLoader):  # type: ignore[misc]
    """A SafeLoader that refuses a key written twice instead of keeping the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", node.start_mark)
            if isinstance(key, bool):
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"key {key!r}: YAML reads a bare yes/no as true/false; put it in quotes",
                    node.start_mark,
                )
        read: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return read

    def construct_plain_number(self, node: yaml.ScalarNode) -> int:
        """Read a whole number as it stands: 010 is 8 to YAML, 0x10 16, 1:30 90 and 1_000 a thousand."""
        if not re.fullmatch("[-+]?(0|[1-9][0-9]*)", node.value):
            means = self.construct_yaml_int(node)
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"{node.value} is {means} to YAML: write {means}, or put it in quotes if it is a text",
                node.start_mark,
            )
        return int(node.value)


_UniqueKeys.add_constructor("tag:yaml.org,2002:int", _UniqueKeys.construct_plain_number)
# YAML 1.1 takes 1e-05, which JSON and Python write, for a text.
_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
