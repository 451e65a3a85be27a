"""Versions fitted in a moment, instead of by the pipeline: stored, registered, and given the alias that is due."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.data import encoding
from healthrisk.deployment.cluster import Deployed
from healthrisk.registry import placement
from tests.story.world import World
from tests.support import sample_bundle

_FAMILY = "logistic_regression"


def train(world: World, table: Path | None, folder: Path) -> Deployed:
    """Fit a model on a table, or where there is none on the shipped one.

    The first version is the champion, the next its challenger.
    """
    spec, (matrix, target) = world.spec, world.shipped
    if table:
        read = pa.csv.read_csv(table, convert_options=pa.csv.ConvertOptions(null_values=[""]))
        matrix, target = encoding.encode(spec, read), encoding.encode_target(spec, read)
    bundle = Bundle.open(sample_bundle.fit(spec, _FAMILY, folder, matrix, target, seed=7))
    uri = store.put(bundle, settings().bundles)
    decision = sample_bundle.decision(spec, _FAMILY, 0.8)
    version, standing = placement.register_bundle(bundle, uri, decision, "", "nothing to compare", by_rollout=True)
    assert standing.awaits_rollout == bool(table)
    return Deployed(version.number, version.uri, version.digest)
