"""What servers answer in JSON. Typed dictionaries: they are written as they are, and cost nothing to make.

An inference's answer in v2 is in the codec, beside its binary form.
"""

from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray


class ErrorBody(TypedDict):
    """A refusal; where one value is at fault, its place and what is allowed instead."""

    error: str
    row: NotRequired[int]
    feature: NotRequired[str]
    value: NotRequired[int | float | bool | str | None]
    allowed: NotRequired[str]


class Readiness(TypedDict):
    """That a model, or the server, takes requests."""

    name: NotRequired[str]
    ready: bool


class ServerMetadata(TypedDict):
    """The server, in v2's form."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(TypedDict):
    """An input or output, in v2's form; of its shape -1 is the number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(TypedDict):
    """A model, in v2's form."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str]


class Prediction(TypedDict):
    """A row's answer in v1. Of two classes `probability` is the event's; of more it maps each class to its own."""

    prediction: int | str
    probability: float | dict[int | str, float]
    risk_level: str
    timestamp: str
    imputed: NotRequired[list[str]]
    receipt: NotRequired[str]


class Predictions(TypedDict):
    """The transformer's answer in v1."""

    predictions: list[Prediction]


class Probabilities(TypedDict):
    """The predictor's answer in v1: the probability of every class, row by row."""

    predictions: list[NDArray[np.float32]]


class Contribution(TypedDict):
    """What one feature's value adds to the probability."""

    feature: str
    label: str
    value: str
    contribution: float
    standard_error: float


# `class` is no name in Python, so this one is not written as a class.
RowExplanation = TypedDict(
    "RowExplanation",
    {"outcome": str, "class": int | str, "probability": float, "base": float, "contributions": list[Contribution]},
)


class Explanations(TypedDict):
    """The explainer's answer in v1."""

    explanations: list[RowExplanation]


V1Answer = Predictions | Probabilities | Explanations


class ConfiguredTensor(TypedDict):
    """An input or output, in the form of Triton's model configuration."""

    name: str
    data_type: str
    dims: list[int]


class Configuration(TypedDict):
    """A model, in the form of Triton's model configuration."""

    name: str
    platform: str
    backend: str
    version_policy: dict[str, dict[str, list[str]]]
    max_batch_size: int
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]
    parameters: dict[str, dict[str, str]]


class Duration(TypedDict):
    """How often something happened, and how long it took in all, in nanoseconds."""

    count: int
    ns: int


class ModelStatistics(TypedDict):
    """How a model has done, in the form of Triton's statistics."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: dict[str, Duration]
    batch_stats: list[Any]


class Statistics(TypedDict):
    """How the server's models have done."""

    model_stats: list[ModelStatistics]


Answer = ErrorBody | Readiness | ServerMetadata | ModelMetadata | Configuration | Statistics
