"""Rows out of requests: from named tensors, a matrix or v1 instances to an encoded matrix that keeps the spec's rules.

Values are judged in whole arrays, so one row and a thousand take the same few numpy calls; a request's own Python
values are looked at one by one only to name what is wrong.
"""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from healthrisk.data.rules import NUMBER, Rules
from healthrisk.serving.errors import Details, Fault, RequestError, ValueRefusedError, bad_request, too_large
from healthrisk.serving.tensors import NUMPY_TYPES, Tensor
from healthrisk.spec import Column, DatasetSpec

# A whole table as one tensor has this name in the metadata; a client may call it what it likes.
MATRIX = "features"
_NUMBERS: frozenset[type] = frozenset({int, float, type(None)})
_BOOLEANS: frozenset[type] = frozenset({bool, type(None)})
_INTEGERS: frozenset[type] = frozenset({int, type(None)})
_TEXTS: frozenset[type] = frozenset({str, type(None)})
_NUMBER = re.compile(NUMBER)


class RowReader:
    """Reads and checks rows against a spec. At most `max_rows` in one request."""

    def __init__(self, spec: DatasetSpec, max_rows: int) -> None:
        self.spec = spec
        self.max_rows = max_rows
        self._position = {name: position for position, name in enumerate(spec.features)}
        self._rules = Rules(spec)
        self._texts = [_lookup(spec, column) if column.is_text else None for column in spec.columns]
        self._plain = [_plain_types(column) for column in spec.columns]

    def read_tensors(self, tensors: Sequence[Tensor]) -> NDArray[np.float64]:
        """Return the encoded matrix [rows, features] of v2 inputs: one tensor a feature, or one matrix.

        Raises:
            RequestError: a feature is missing, unknown or given twice, a shape or datatype does not fit, there are too
                many rows, or a value is not allowed; the message names it.
        """
        first = tensors[0]
        if len(tensors) == 1 and first.name not in self._position:
            return self._finish(*self._split(first))
        if len(tensors) != len(self._position) or any(tensor.name not in self._position for tensor in tensors):
            self._refuse_names([tensor.name for tensor in tensors])
        rows = first.shape[0]
        self._check_rows(rows)
        columns: list[Any] = [None] * len(tensors)
        shapes = (rows,), (rows, 1)
        for tensor in tensors:
            position = self._position[tensor.name]
            if tensor.shape not in shapes:
                raise bad_request("shape", f"input {tensor.name!r} has shape {list(tensor.shape)}, expected [{rows}]")
            if columns[position] is not None:
                raise bad_request("features", f"feature {tensor.name!r} is given twice")
            data = tensor.data if isinstance(tensor.data, np.ndarray) else flatten(tensor)
            columns[position] = self._column(position, tensor.datatype, data, rows)
        return self._finish(columns, rows)

    def read_document(self, document: Any) -> NDArray[np.float64]:
        """Return the encoded matrix [rows, features] of a v1 request.

        Raises:
            RequestError: as for `read_instances`, or the document is no object.
        """
        if not isinstance(document, dict):
            raise bad_request("protocol", "the body must be a JSON object with 'instances'")
        return self.read_instances(document.get("instances"))

    def read_instances(self, instances: Any) -> NDArray[np.float64]:
        """Return the encoded matrix [rows, features] of v1 instances: objects by feature, or lists in the spec's order.

        Raises:
            RequestError: as for `read_tensors`.
        """
        if not isinstance(instances, list) or not instances:
            raise bad_request("protocol", "'instances' must be a list of at least one row")
        self._check_rows(len(instances))
        names = self.spec.features
        wanted = set(names)
        rows = []
        for row, instance in enumerate(instances):
            if isinstance(instance, dict):
                if instance.keys() != wanted:
                    self._refuse_names(list(instance), row)
                rows.append([instance[name] for name in names])
            elif isinstance(instance, list):
                if len(instance) != len(names):
                    raise bad_request("shape", f"row {row}: has {len(instance)} values, expected {len(names)}")
                rows.append(instance)
            else:
                raise bad_request("protocol", f"row {row}: must be an object with a value for each feature, or a list")
        columns = [
            self._values(position, list(column), _NUMBERS) for position, column in enumerate(zip(*rows, strict=True))
        ]
        return self._finish(columns, len(rows))

    def _split(self, tensor: Tensor) -> tuple[list[Any], int]:
        """Return the columns and the number of rows of a matrix."""
        width = len(self._position)
        if len(tensor.shape) != 2 or tensor.shape[1] != width:
            if len(tensor.shape) == 1:
                self._refuse_names([tensor.name])
            raise bad_request(
                "shape", f"input {tensor.name!r} has shape {list(tensor.shape)}, expected [rows, {width}]"
            )
        rows = tensor.shape[0]
        self._check_rows(rows)
        flat = tensor.data if isinstance(tensor.data, np.ndarray) else flatten(tensor)
        if len(flat) != rows * width:
            message = f"input {tensor.name!r}: {len(flat)} values do not fill shape {list(tensor.shape)}"
            raise bad_request("shape", message)
        columns = [self._column(place, tensor.datatype, flat[place::width], rows, mixed=True) for place in range(width)]
        return columns, rows

    def _column(self, position: int, datatype: str, data: Any, rows: int, mixed: bool = False) -> Any:
        """Return a column's numbers as an array or list. In a `mixed` matrix of BYTES numbers may stand as texts."""
        if type(data) is list and len(data) == rows:
            plain = self._plain[position].get(datatype)
            if plain is not None and plain.issuperset(map(type, data)):
                return data
        column = self.spec.columns[position]
        if len(data) != rows:
            raise bad_request("shape", f"input {column.name!r}: {len(data)} values do not fill shape [{rows}]")
        if mixed and datatype == "BYTES" and not column.is_text:
            return self._values(position, [_number(value) for value in data], _NUMBERS)
        if datatype == "BOOL" and column.boolean and isinstance(data, list):
            return self._values(position, data, _BOOLEANS)
        if datatype == "BOOL" or (datatype == "BYTES") is not column.is_text:
            expected = "BYTES" if column.is_text else "an INT, UINT or FP type"
            raise bad_request("datatype", f"input {column.name!r} has datatype {datatype}, expected {expected}")
        if isinstance(data, np.ndarray):
            return data
        if datatype[0] in "FB":
            return self._values(position, data, _NUMBERS)
        numbers = self._values(position, data, _INTEGERS)
        if datatype != "INT64":
            _check_width(column, datatype, numbers)
        return numbers

    def _values(self, position: int, data: list[Any], types: frozenset[type]) -> list[Any]:
        """Return a column's JSON values as numbers or None, refusing what is neither of a fit type nor a known code."""
        column, lookup = self.spec.columns[position], self._texts[position]
        types = _TEXTS if lookup is not None else types | _BOOLEANS if column.boolean else types
        if not set(map(type, data)) <= types:
            self._check_types(column, data, types)
        if lookup is None:
            return data
        try:
            return [lookup[value] for value in data]
        except KeyError:
            row = next(row for row, value in enumerate(data) if value not in lookup)
            raise ValueRefusedError("code", Fault(row, column.name, data[row], column.allowed)) from None

    @staticmethod
    def _check_types(column: Column, data: list[Any], types: frozenset[type]) -> None:
        """Refuse the first value of another type. A number like 1.0 may stand in an INT tensor: JSON knows no types."""
        for row, value in enumerate(data):
            fraction = type(value) is float and types is _INTEGERS
            whole = fraction and value.is_integer() and abs(value) < 2.0**63
            if type(value) not in types and not whole:
                allowed = column.allowed + (", and no fraction in an INT tensor" if fraction else "")
                raise ValueRefusedError("type", Fault(row, column.name, value, allowed))

    def _finish(self, columns: list[Any], rows: int) -> NDArray[np.float64]:
        try:
            if set(map(type, columns)) == {list}:
                table = np.array(columns, dtype=np.float64)
                if rows == 1 and self._rules.plainly_allow([column[0] for column in columns]):
                    return table.T
            else:
                table = np.empty((len(columns), rows))
                for position, column in enumerate(columns):
                    table[position] = column
        except OverflowError as error:
            raise bad_request("range", "a value is too large for a 64-bit number") from error
        self._check_values(table)
        return table.T

    def _check_values(self, table: NDArray[np.float64]) -> None:
        """Turn values that mean missing into NaN, in place, and refuse what the spec does not allow."""
        bad = self._rules.violations(table)
        if bad.any():
            row, position = np.argwhere(bad.T)[0].tolist()
            _refuse_value(row, self.spec.columns[position], table[position, row].item())

    def _check_rows(self, rows: int) -> None:
        if rows < 1:
            raise bad_request("shape", "the request has no rows")
        if rows > self.max_rows:
            raise too_large(f"the request has {rows} rows, at most {self.max_rows} are allowed")

    def _refuse_names(self, names: list[str], row: int | None = None) -> None:
        where = "" if row is None else f"row {row}: "
        details: Details = {} if row is None else {"row": row}
        if unknown := [name for name in names if name not in self._position]:
            name = unknown[0][:200]
            message = f"{where}unknown feature {name!r}, expected {', '.join(self.spec.features)}"
            raise RequestError(400, "features", message, details | {"feature": name})
        if absent := [name for name in self.spec.features if name not in names]:
            allowed = self.spec.by_name[absent[0]].allowed
            message = f"{where}feature {absent[0]!r} is missing, expected {allowed}"
            raise RequestError(400, "features", message, details | {"feature": absent[0], "allowed": allowed})
        raise bad_request("features", "a feature is given twice")


def _refuse_value(row: int, column: Column, value: float) -> None:
    if np.isnan(value):
        raise ValueRefusedError("missing", Fault(row, column.name, None, column.allowed))
    shown = int(value) if value.is_integer() and abs(value) < 2**53 else value
    raise ValueRefusedError(
        "code" if column.kind == "code" else "range", Fault(row, column.name, shown, column.allowed)
    )


def _lookup(spec: DatasetSpec, column: Column) -> dict[Any, float | None]:
    """Return what each text of a column stands for. A BYTES tensor has no null, so the spec's tokens mean missing."""
    missing: dict[Any, float | None] = dict.fromkeys([None, *spec.missing_tokens, *column.missing.values])
    return missing | dict(column.code_values)


def _plain_types(column: Column) -> dict[str, frozenset[type]]:
    """Return, by datatype, the types of a column's JSON values that stand as they come in: of texts there are none."""
    if column.is_text:
        return {}
    more = _BOOLEANS if column.boolean else frozenset[type]()
    plain = {datatype: _NUMBERS | more for datatype in NUMPY_TYPES if datatype[0] in "FB"}
    return plain | {"INT64": _INTEGERS | more} | ({"BOOL": _BOOLEANS} if column.boolean else {})


def _number(value: Any) -> Any:
    """Return the number that a text spells, None for one that means missing, and anything else as it is."""
    if not isinstance(value, str):
        return value
    if _NUMBER.fullmatch(value):
        return float(value)
    return None if value.lower() in {"", "nan"} else value


def flatten(tensor: Tensor) -> list[Any]:
    """Return a tensor's JSON values in row-major order, given flat or as one list for each row.

    Raises:
        RequestError: rows are not of the tensor's shape.
    """
    data, shape = cast(list[Any], tensor.data), tensor.shape
    if not data or type(data[0]) is not list:
        return data
    width = shape[1] if len(shape) == 2 else None
    if len(data) == shape[0] and set(map(type, data)) == {list} and set(map(len, data)) == {width}:
        return list(chain.from_iterable(data))
    raise bad_request("shape", f"input {tensor.name!r}: its nested lists are not of shape {list(shape)}")


def _check_width(column: Column, datatype: str, data: list[Any]) -> None:
    """Refuse the first number that its datatype cannot hold. Whatever INT64 cannot hold, JSON gives as a float."""
    info = np.iinfo(NUMPY_TYPES[datatype])
    low, high = int(info.min), int(info.max)
    for row, value in enumerate(data):
        if value is not None and not low <= value <= high:
            allowed = f"{column.allowed}, and {datatype} holds {low} to {high}"
            raise ValueRefusedError("range", Fault(row, column.name, value, allowed))
