"""What v2 leaves to servers, in Triton's form: a model's configuration, and how it has done since the server started.

https://github.com/triton-inference-server/server/tree/main/docs/protocol: extension_model_configuration.md and
extension_statistics.md. Of what Triton's answers hold, only what is known here is in ours.
"""

from healthrisk.serving.answers import (
    Configuration,
    ConfiguredTensor,
    Duration,
    ModelMetadata,
    ModelStatistics,
    Statistics,
    TensorMetadata,
)
from healthrisk.serving.metrics import Tally


def configuration(metadata: ModelMetadata, max_rows: int) -> Configuration:
    """Return the configuration of a model with this metadata. Shapes hold the rows, so that none is added to them."""
    return {
        "name": metadata["name"],
        "platform": metadata["platform"],
        "backend": "",
        "version_policy": {"specific": {"versions": metadata["versions"]}},
        "max_batch_size": 0,
        "input": [_tensor(tensor) for tensor in metadata["inputs"]],
        "output": [_tensor(tensor) for tensor in metadata["outputs"]],
        "parameters": {"max_rows": {"string_value": str(max_rows)}},
    }


def _tensor(described: TensorMetadata) -> ConfiguredTensor:
    datatype = "STRING" if described["datatype"] == "BYTES" else described["datatype"]
    return {"name": described["name"], "data_type": f"TYPE_{datatype}", "dims": described["shape"]}


def model_statistics(name: str, version: str, tally: Tally) -> Statistics:
    """Return the statistics of a model. An execution is an answered request, an inference one of its rows."""
    counts: dict[str, Duration] = {
        "success": {"count": tally.answered, "ns": round(tally.answered_seconds * 1e9)},
        "fail": {"count": tally.refused, "ns": round(tally.refused_seconds * 1e9)},
    }
    model: ModelStatistics = {
        "name": name,
        "version": version,
        "last_inference": tally.last_answer_ms,
        "inference_count": tally.rows,
        "execution_count": tally.answered,
        "inference_stats": counts,
        "batch_stats": [],
    }
    return {"model_stats": [model]}
