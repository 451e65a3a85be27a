"""Names of columns: those that stand in a table, and the safe ones derived from them, which requests and files use.

A hospital's `Größe (cm)` is the tensor `Groesse_cm`. Two spellings of one text in Unicode, composed and decomposed, are
one name.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

LONGEST = 63
_SAFE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_SPELLED_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa"}
)


def composed(text: str) -> str:
    """Return a header as it is compared: in Unicode's composed form, without blanks around it."""
    return unicodedata.normalize("NFC", text).strip()


def safe(header: str) -> str:
    """Return the safe name of a header: letters, digits, `_`, `.` and `-` of ASCII, a letter first.

    Raises:
        ValueError: nothing is left of it.
    """
    if _SAFE.fullmatch(header) and len(header) <= LONGEST:
        return header
    spelled = composed(header).translate(_SPELLED_OUT)
    plain = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", plain).strip("_.-")
    if not name:
        raise ValueError(f"column {header!r}: no safe name follows from it; give a `name`, and this one as `header`")
    return (name if name[0].isalpha() else f"c_{name}")[:LONGEST].rstrip("_.-")


# What a column is called in requests and files.
Name = Annotated[str, Field(pattern=rf"^{_SAFE.pattern}$", max_length=LONGEST)]
# What a table calls it.
Header = Annotated[str, AfterValidator(composed)]


def with_safe_names(document: dict[str, Any]) -> dict[str, Any]:
    """Return a spec's fields with safe names in place of headers, which columns and outcome keep as `header`.

    Raises:
        ValueError: two headers have one safe name, or one has none.
    """
    known: dict[str, str] = {}

    def renamed(column: Any) -> Any:
        if not isinstance(column, dict) or not isinstance(column.get("name"), str):
            return column
        header = composed(str(column.get("header") or column["name"]))
        name = safe(column["name"])
        if name in known.values() and header not in known:
            other = next(other for other, taken in known.items() if taken == name)
            raise ValueError(f"columns {other!r} and {header!r} are both {name!r} in requests: give one another `name`")
        known[header] = known[composed(column["name"])] = name
        return {**column, "name": name} | ({"header": header} if header != name else {})

    changed = dict(document)
    if isinstance(columns := document.get("columns"), list | tuple):
        changed["columns"] = [renamed(column) for column in columns]
    if "target" in document:
        changed["target"] = renamed(document["target"])
    return _translated(changed, lambda name: known.get(composed(name), name) if isinstance(name, str) else name)


def _translated(document: dict[str, Any], name: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a spec's fields in which whatever mentions a column does so by its safe name."""

    def keys(value: Any) -> Any:
        return {name(key): one for key, one in value.items()} if isinstance(value, dict) else value

    def each(value: Any) -> Any:
        return [name(one) for one in value] if isinstance(value, list | tuple) else value

    def within(listed: Any, field: str, change: Callable[[Any], Any]) -> Any:
        if not isinstance(listed, list | tuple):
            return listed
        return [one | {field: change(one[field])} if isinstance(one, dict) and field in one else one for one in listed]

    translated = dict(document)
    if "sensitive" in translated:
        translated["sensitive"] = each(translated["sensitive"])
    if "foreign_encodings" in translated:
        translated["foreign_encodings"] = within(translated["foreign_encodings"], "columns", keys)
    if isinstance(evidence := translated.get("evidence"), dict):
        translated["evidence"] = evidence | {
            field: change
            for field, change in (
                ("bands", keys(evidence.get("bands"))),
                ("baselines", within(evidence.get("baselines"), "powers", keys)),
                ("ablations", within(evidence.get("ablations"), "without", each)),
            )
            if field in evidence
        }
    return translated
