"""The server's OpenAPI document: its own routes, and values as the spec allows them."""

from typing import Any

from healthrisk import __version__
from healthrisk.serving.answers import ModelMetadata
from healthrisk.serving.tensors import DATATYPES
from healthrisk.spec import Column, DatasetSpec

# An object of JSON Schema or OpenAPI.
Schema = dict[str, Any]
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        "row": {"type": "integer"},
        "feature": {"type": "string"},
        "value": {},
        "allowed": {"type": "string"},
    },
}
_MEANINGS = {
    400: "The request is not valid; the error names what is wrong, and what is allowed.",
    408: "The request did not come in whole in time.",
    413: "The request has too many rows or bytes.",
    415: "The content type is not accepted.",
    431: "The headers are too large.",
    503: "Overloaded, draining, or the predictor is down: try again after Retry-After.",
    504: "The predictor did not answer in time.",
}


def document(metadata: ModelMetadata, spec: DatasetSpec, actions: tuple[str, str]) -> Schema:
    """Return the OpenAPI document of a server with this model metadata and these actions of v1 and v2.

    A transformer's v1 instances are described by the spec; a predictor's are rows of its one input.
    """
    name, version = metadata["name"], metadata["versions"][0]
    raw = [tensor["name"] for tensor in metadata["inputs"]] == list(spec.features)
    instance = _instance(spec) if raw else {"type": "array", "items": {"type": "number"}}
    paths: Schema = {
        "/v2": {"get": _get("Server metadata")},
        "/v2/health/live": {"get": _get("Whether the process lives")},
        "/v2/health/ready": {"get": _get("Whether the server takes requests", 503)},
        f"/v1/models/{name}": {"get": _get("Whether the model is ready", 503)},
        f"/v1/models/{name}:{actions[0]}": {
            "post": _post(f"{actions[0].capitalize()}, protocol v1", {"instances": _array(instance)}, ["instances"])
        },
    }
    for base in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
        paths[base] = {"get": _get("Model metadata")}
        paths[f"{base}/config"] = {"get": _get("Model configuration, in Triton's form")}
        paths[f"{base}/stats"] = {"get": _get("How many requests were answered, in Triton's form")}
        paths[f"{base}/ready"] = {"get": _get("Whether the model is ready", 503)}
        names = [tensor["name"] for tensor in metadata["inputs"]]
        paths[f"{base}/{actions[1]}"] = {
            "post": _post(f"{actions[1].capitalize()}, protocol v2", _infer(names, metadata), ["inputs"])
        }
    info = {"title": f"{spec.title}: {metadata['platform']}", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": {"Error": _ERROR}}}


def _infer(names: list[str], metadata: ModelMetadata) -> Schema:
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string", "examples": names},
            "datatype": {"enum": sorted(DATATYPES)},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
    }
    wanted = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": [out["name"] for out in metadata["outputs"]]}},
    }
    return {"id": {"type": "string"}, "inputs": _array(tensor), "outputs": {"type": "array", "items": wanted}}


def _instance(spec: DatasetSpec) -> Schema:
    properties = {column.name: _value(column) for column in spec.columns}
    return {"type": "object", "properties": properties, "required": list(spec.features), "additionalProperties": False}


def _value(column: Column) -> Schema:
    options: list[Schema] = []
    if column.kind == "code":
        options.append({"enum": list(column.meanings)})
    elif column.range:
        kind = "integer" if column.kind == "integer" else "number"
        options.append({"type": kind, "minimum": column.range[0], "maximum": column.range[1]})
    if column.missing.allowed:
        options += [{"type": "null"}, *([{"enum": list(column.missing.values)}] if column.missing.values else [])]
    return {"description": f"{column.label}: {column.allowed}", "anyOf": options}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _get(summary: str, *errors: int) -> Schema:
    return {"summary": summary, "responses": _responses(errors)}


def _post(summary: str, properties: Schema, required: list[str]) -> Schema:
    schema = {"type": "object", "properties": properties, "required": required}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"summary": summary, "requestBody": body, "responses": _responses(tuple(_MEANINGS))}


def _responses(errors: tuple[int, ...]) -> Schema:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers: Schema = {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": {"type": "object"}}}}
    }
    return answers | {str(code): {"description": _MEANINGS[code], "content": content} for code in errors}
