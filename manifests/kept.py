"""Write what is kept where, for how long and how encrypted into manifests/data-protection.md, out of the manifests.

python manifests/kept.py [FILE]        where kustomize, or kubectl, is on the PATH (`make data-table`)
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
PAGE = HERE / "data-protection.md"
BEGIN, END = "<!-- made by manifests/kept.py -->\n", "<!-- end -->\n"
OVERLAYS = ("small", "kind", "production")
Document = dict[str, Any]
Stores = dict[tuple[str, str], Document]


class UnknownStoreError(Exception):
    """A manifest brings a store of which kept.yaml does not say what it is for, or kept.yaml names one that is gone."""


def rendered(overlay: str) -> list[Document]:
    """Return the documents of an overlay with the record of use turned on, as its README says."""
    tool = shutil.which("kustomize")
    command = [tool, "build"] if tool else ["kubectl", "kustomize"]
    with tempfile.TemporaryDirectory() as scratch:
        for part in ("manifests", "kserve"):
            shutil.copytree(HERE.parent / part, Path(scratch) / part)
        path = Path(scratch) / "manifests" / "overlays" / overlay / "kustomization.yaml"
        asked = yaml.safe_load(path.read_text())
        asked["components"] = ["../../records", *asked["components"]]
        path.write_text(yaml.safe_dump(asked))
        done = subprocess.run([*command, str(path.parent)], check=True, capture_output=True, text=True)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def stores(documents: list[Document]) -> Stores:
    """Return every claim, bucket and database by kind and name; of a claim its specification."""
    found: Stores = {}
    for one in documents:
        if one["kind"] == "PersistentVolumeClaim":
            found["claims", one["metadata"]["name"]] = one["spec"]
        for claim in one.get("spec", {}).get("volumeClaimTemplates", ()):
            found["claims", f"{claim['metadata']['name']}-{one['metadata']['name']}"] = claim["spec"]
    text = json.dumps(documents)
    named = set(re.findall(r"s3://([a-z0-9.-]+(?:/[a-z0-9.-]+)?)", text)) | set(
        re.findall(r"/data/buckets/([\w.-]+)", text)
    )
    for name in named:
        # A bucket is told of by its parts, where it has some.
        if not any(other.startswith(f"{name}/") for other in named):
            found["buckets", name] = {"encryption": _asked_encryption(name, documents)}
    for host, name in re.findall(r"postgresql[+\w]*://[^@\"]*@([\w.-]+?)(?::\d+)?/(\w+)", text):
        found["databases", f"{host}/{name}"] = {}
    return {**found, **_own_databases(documents)}


def _asked_encryption(bucket: str, documents: list[Document]) -> str:
    """Return how whoever puts into a bucket asks the store to encrypt: MLflow's server by an option of its own."""
    config = next(one["data"] for one in documents if (one["kind"], one["metadata"]["name"]) == _CONFIG)
    if bucket != "mlflow":
        return str(config.get("HEALTHRISK_S3_ENCRYPTION", ""))
    given = json.loads(config.get("MLFLOW_S3_UPLOAD_EXTRA_ARGS") or "{}")
    return ":".join(given[name] for name in ("ServerSideEncryption", "SSEKMSKeyId") if name in given)


def _own_databases(documents: list[Document]) -> Stores:
    """Return the databases that a server in the cluster makes."""
    pods = [
        (one["metadata"]["name"], one["spec"]["template"]["spec"]) for one in documents if one["kind"] == "StatefulSet"
    ]
    variables = [
        (name, variable)
        for name, pod in pods
        for container in pod["containers"]
        for variable in container.get("env", ())
    ]
    return {("databases", f"{name}/{one['value']}"): {} for name, one in variables if one["name"] == "POSTGRES_DB"}


def table(by_overlay: dict[str, list[Document]], said: dict[str, dict[str, dict[str, str]]]) -> str:
    """Return the table.

    Raises:
        UnknownStoreError: a store is not described, or a description is of no store.
    """
    found = {overlay: stores(documents) for overlay, documents in by_overlay.items()}
    known = {(kind, name) for kind in ("claims", "buckets", "databases") for name in said[kind]}
    there = {store for one in found.values() for store in one}
    if odd := sorted(there ^ known):
        raise UnknownStoreError(
            "; ".join(
                f"{kind}/{name} is {'not in kept.yaml' if (kind, name) in there else 'in no manifest'}"
                for kind, name in odd
            )
        )
    rows = ["| store | where | what | of patients | how long | at rest |", "|---|---|---|---|---|---|"]
    for kind in ("claims", "buckets", "databases"):
        for name, entry in said[kind].items():
            where = [overlay for overlay in by_overlay if (kind, name) in found[overlay]]
            rest = "; ".join(dict.fromkeys(_at_rest(kind, name, found[overlay]) for overlay in where))
            kept = re.sub(r"\{(\S+) (\S+)\}", lambda match: _option(by_overlay, *match.groups()), entry["kept"])
            cells = (
                f"{kind.removesuffix('s')} `{name}`",
                ", ".join(where),
                entry["purpose"],
                entry["patients"],
                kept,
                rest,
            )
            rows.append(f"| {' | '.join(cells)} |")
    for name, entry in said["upstream"].items():
        cells = (name, ", ".join(by_overlay), entry["purpose"], entry["patients"], entry["kept"], _DEFAULT)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


_CONFIG = ("ConfigMap", "healthrisk")
_DEFAULT = "as the cluster's default storage class does"


def _at_rest(kind: str, name: str, found: Stores) -> str:
    if kind == "databases":
        return _at_rest("claims", f"data-{name.partition('/')[0]}", found)
    if kind == "buckets":
        own = ("claims", "data-object-store") in found
        if asked := found[kind, name]["encryption"]:
            return f"by the store (SSE), which every upload asks for `{asked}`"
        return _at_rest("claims", "data-object-store", found) if own else "as the site's S3 encrypts the bucket (SSE)"
    given = found[kind, name].get("storageClassName")
    return f"as storage class `{given}` does" if given else _DEFAULT


def _option(by_overlay: dict[str, list[Document]], place: str, option: str) -> str:
    """Return the value of an option of one object, an argument or a key of a file; overlays that have it agree.

    Of a ConfigMap the name has a digest of what is in it behind its own.
    """
    kind, name = place.split("/")
    values = {
        match
        for documents in by_overlay.values()
        for one in documents
        if one["kind"] == kind and re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", one["metadata"]["name"])
        for match in re.findall(rf'(?<![\w-]){option}(?:=|: )([^"\s,}}\\]+)', json.dumps(one))
    }
    if len(values) != 1:
        raise UnknownStoreError(f"{place} has no one {option}: {sorted(values)}")
    return str(values.pop())


def page(text: str, made: str) -> str:
    """Return the page with this table in place of the one in it."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + made + END + rest.split(END)[1]


def main() -> None:
    """Write the page anew, or a copy of it."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    said = yaml.safe_load((HERE / "kept.yaml").read_text())
    made = table({overlay: rendered(overlay) for overlay in OVERLAYS}, said)
    target.write_text(page(PAGE.read_text(), made))


if __name__ == "__main__":
    try:
        main()
    except UnknownStoreError as error:
        sys.exit(f"error: {error}")
