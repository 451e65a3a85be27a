"""The Dask cluster of manifests/dask beside the platform: what workers do for a step comes out as without them."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from healthrisk.bundle import Bundle, parity
from healthrisk.config import settings
from healthrisk.deployment.cluster import Deployed
from healthrisk.inference.fragments import FragmentedJob, predict_fragments
from healthrisk.object_store import s3_client
from tests.support.manifest_rules import ROOT, build

HEALTHRISK = ("--namespace", "healthrisk")
# A step's pod bears its workflow's label, and finds the cluster by what the overlay says.
STEP = ({"pipeline/runid": "e2e"}, {"HEALTHRISK_DASK": "tcp://dask-scheduler.healthrisk.svc:8786"})
MODEL = """
import hashlib, io
from pathlib import Path
import joblib
import pyarrow.csv
from healthrisk import datasets, engine, spec as specs
from healthrisk.data import encoding
from healthrisk.training import preprocessing
from healthrisk.training.train import train
spec = specs.load("heart-disease")
options = pyarrow.csv.ConvertOptions(null_values=list(spec.missing_tokens))
table = pyarrow.csv.read_csv(Path(datasets.__path__[0]) / "heart-disease.csv", convert_options=options)
matrix, classes = encoding.encode(spec, table), encoding.encode_target(spec, table)
fitted, _ = preprocessing.fit(spec, matrix)
written = io.BytesIO()
joblib.dump(train(spec, "logistic_regression", fitted, (matrix, classes), 0).classifier, written)
with engine.connect() as tasks:
    (host,) = set(tasks.map(eval, ["__import__('socket').gethostname()"]))
print()
print(hashlib.sha256(written.getvalue()).hexdigest(), host)
"""
PREDICT = """
import runpy, sys
sys.argv[1:] = {arguments}
runpy.run_module("healthrisk", run_name="__main__", alter_sys=True)
"""
# A network hears of a new pod a moment late.
KNOCK = """
import socket, time
for _ in range(15):
    try:
        socket.create_connection(("dask-scheduler.healthrisk", 8786), timeout=5).close()
        print("open")
        break
    except OSError:
        time.sleep(1)
"""
Kubectl = Callable[..., str]
InCluster = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def dask(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The component as an overlay brings it, with requests that a small node has room for."""
    folder = tmp_path_factory.mktemp("dask")
    for name in ("manifests", "kserve"):
        shutil.copytree(ROOT / name, folder / name)
    overlay = folder / "manifests" / "overlays" / "kind"
    document = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    document["components"] = ["../../dask", *document["components"]]
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(document))
    documents = [one for one in build(["kubectl", "kustomize"], overlay) if "dask" in one["metadata"]["name"]]
    image = kubectl(*HEALTHRISK, "get", "deployment", "mlflow", "--output=jsonpath={..containers[0].image}")
    for one in documents:
        if one["kind"] == "Deployment":
            (container,) = one["spec"]["template"]["spec"]["containers"]
            container["image"] = image
            container["resources"]["requests"] = {"cpu": "10m", "memory": "256Mi"}
    applied = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    kubectl("apply", "--filename=-", stdin=applied)
    try:
        for name in ("dask-scheduler", "dask-worker"):
            kubectl(*HEALTHRISK, "rollout", "status", f"deployment/{name}", "--timeout=300s")
        yield
    finally:
        kubectl("delete", "--filename=-", stdin=applied)


def test_a_model_that_workers_fitted_is_the_same(dask: None, in_cluster: InCluster) -> None:
    answers = {name: in_cluster(name, MODEL, *where) for name, where in (("e2e-alone", ()), ("e2e-step", STEP))}
    assert {phase for phase, _ in answers.values()} == {"Succeeded"}, answers
    (digest, itself), (same, worker) = (printed.splitlines()[-1].split() for _, printed in answers.values())
    assert digest == same
    assert itself == "e2e-alone"
    assert worker.startswith("dask-worker-")


def test_predictions_from_bucket_to_bucket_are_the_same_bytes(
    dask: None, first: tuple[Bundle, Deployed], in_cluster: InCluster, tmp_path: Path
) -> None:
    bundle, version = first
    client = s3_client(settings())
    (tmp_path / "in").mkdir()
    for number in range(6):
        rows = parity.generate_rows(bundle.spec, 2000, number)
        path = tmp_path / "in" / f"{number}.parquet"
        pq.write_table(pa.table(dict(zip(bundle.spec.features, rows.T, strict=True))), path)
        client.fput_object(bucket_name="healthrisk", object_name=f"e2e/in/{path.name}", file_path=str(path))
    arguments = ["predict", "s3://healthrisk/e2e/in/", "--out=s3://healthrisk/e2e/out/", f"--bundle={version.bundle}"]
    phase, printed = in_cluster("e2e-predict", PREDICT.format(arguments=arguments), *STEP)
    assert phase == "Succeeded", printed
    here = tmp_path / "out"
    predict_fragments(
        FragmentedJob(str(tmp_path / "in"), str(here), str(bundle.path), bundle.digest, threads=1, progress=False)
    )
    for path in here.glob("*.parquet"):
        answer = client.get_object(bucket_name="healthrisk", object_name=f"e2e/out/{path.name}")
        assert answer.read() == path.read_bytes(), path.name
    assert len(list(here.glob("*.parquet"))) == 6
    for one in client.list_objects(bucket_name="healthrisk", prefix="e2e/", recursive=True):
        client.remove_object(bucket_name="healthrisk", object_name=str(one.object_name))


def test_a_pod_that_is_no_step_does_not_reach_the_scheduler(dask: None, in_cluster: InCluster) -> None:
    assert in_cluster("e2e-knock", KNOCK) == ("Succeeded", "")
    assert in_cluster("e2e-knock", KNOCK, *STEP) == ("Succeeded", "open\n")
