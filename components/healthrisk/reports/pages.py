"""Self-contained HTML pages: templates with their style and pictures inside."""

import importlib.resources
import math
from functools import cache
from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """Return a page made from a template of the package; a name that the template lacks a value for is an error."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    folder = importlib.resources.files("healthrisk.reports") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["exp"] = math.exp
    environment.filters["figure"] = lambda value: f"{value:.3f}"
    return environment
