"""Draw manifests/network.svg: who may talk to whom in the overlay `kind`, by its network policies and nothing else.

python manifests/draw.py [FILE]        where kustomize, or kubectl, is on the PATH (`make network-picture`)
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import yaml

HERE = Path(__file__).parent
NAMESPACE = "kubernetes.io/metadata.name"
WIDTH, HEIGHT = 128, 40
# What stands where, in pixels, with the labels by which policies know it; a model's pods bear KServe's, too.
MODEL = {"serving.kserve.io/inferenceservice": "model"}
PODS = {
    "transformer": ((250, 70), {"component": "transformer", **MODEL}),
    "predictor": ((500, 70), {"component": "predictor", **MODEL}),
    "explainer": ((250, 180), {"component": "explainer", **MODEL}),
    "object-store": ((500, 290), {}),
    "mlflow": ((250, 390), {}),
    "postgres": ((250, 500), {}),
    "prometheus": ((760, 180), {}),
    "grafana": ((760, 70), {}),
    "push-gateway": ((634, 290), {}),
    "drift": ((760, 400), {}),
    "alertmanager": ((905, 470), {}),
    "backup": ((440, 526), {}),
    "kube-state-metrics": ((905, 320), {}),
    "collector": ((905, 130), {}),
    "victoria-logs": ((905, 235), {}),
    "jaeger": ((905, 50), {}),
    "outcomes": ((640, 500), {"app.kubernetes.io/name": "outcomes", "component": "outcomes"}),
}
OUTSIDE = {"envoy-gateway-system": (20, 120), "kubeflow": (20, 330)}
NODES = (1140, 180)
TITLES = {"envoy-gateway-system": "Envoy Gateway", "kubeflow": "pipelines", "nodes": "outside of pods"}
Resource = dict[str, Any]
Edges = dict[tuple[str, str], tuple[int, ...]]


def rendered() -> list[Resource]:
    """Return the documents of the overlay `kind`."""
    command = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    done = subprocess.run([*command, str(HERE / "overlays" / "kind")], check=True, capture_output=True, text=True)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def edges(documents: list[Resource]) -> Edges:
    """Return the ports by source and target, where the target's policies let in and the source's let out."""
    policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
    ways: Edges = {}
    for target in PODS:
        for source in (*PODS, *OUTSIDE):
            shared = set(_ports(policies, target, source, "ingress"))
            if source in PODS:
                shared &= set(_ports(policies, source, target, "egress"))
            if shared and source != target:
                ways[source, target] = tuple(sorted(shared))
    for source in PODS:
        for outside in OUTSIDE:
            if ports := tuple(sorted(set(_ports(policies, source, outside, "egress")))):
                ways[source, outside] = ports
        # A rule without peers reaches what is no pod.
        if ports := tuple(sorted(set(_ports(policies, source, "nodes", "egress")))):
            ways[source, "nodes"] = ports
    return ways


def _ports(policies: list[Resource], subject: str, peer: str, direction: str) -> Iterator[int]:
    """Yield the ports at which the policies of `subject` let it talk with `peer`."""
    for policy in policies:
        if _matches(policy["podSelector"], _labels(subject)):
            for rule in policy.get(direction, ()):
                peers = rule.get("from" if direction == "ingress" else "to", ())
                if any(_is(one, peer) for one in peers) or (not peers and peer == "nodes"):
                    yield from (port["port"] for port in rule["ports"])


def _labels(name: str) -> dict[str, str]:
    return PODS[name][1] or {"app.kubernetes.io/name": name}


def _is(peer: Resource, name: str) -> bool:
    if name in PODS:
        return "namespaceSelector" not in peer and _matches(peer["podSelector"], _labels(name))
    return "namespaceSelector" in peer and _matches(peer["namespaceSelector"], {NAMESPACE: name})


def _matches(selector: Resource, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        one["key"] in labels and (one["operator"] == "Exists" or labels[one["key"]] in one["values"])
        for one in selector.get("matchExpressions", ())
    )


def draw(ways: Edges) -> str:
    """Return the picture."""
    places = {name: place for name, (place, _) in PODS.items()} | OUTSIDE | {"nodes": NODES}
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1270 590" font-family="sans-serif" font-size="13">',
        "<title>Who may talk to whom on a cluster, and at which ports</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#37474f"/></marker></defs>',
        '<rect width="1270" height="590" fill="#fff"/>',
        '<rect x="220" y="20" width="820" height="550" rx="10" fill="#f3f7fa" stroke="#90a4ae"/>',
        '<text x="630" y="42" text-anchor="middle" fill="#546e7a">'
        "namespace healthrisk: what has no arrow is closed, but for names, which all may ask</text>",
    ]
    lines += [_arrow(places[a], places[b], a, b, ports) for (a, b), ports in ways.items()]
    for name, (x, y) in places.items():
        fill = "#e3f2fd" if name in PODS else "#eceff1"
        lines.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="#37474f"/>'
            f'<text x="{x + WIDTH / 2:g}" y="{y + 25}" text-anchor="middle">{escape(TITLES.get(name, name))}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _arrow(start: tuple[int, int], end: tuple[int, int], source: str, target: str, ports: tuple[int, ...]) -> str:
    """Return a line between the borders of two boxes, with its ports where nothing else stands."""
    (x1, y1), (x2, y2) = ((x + WIDTH / 2, y + HEIGHT / 2) for x, y in (start, end))
    dx, dy = x2 - x1, y2 - y1
    reach = min(WIDTH / 2 / abs(dx) if dx else 1, HEIGHT / 2 / abs(dy) if dy else 1)
    x1, y1, x2, y2 = x1 + dx * reach, y1 + dy * reach, x2 - dx * reach, y2 - dy * reach
    # Nearer to where it ends: many arrows begin at one box.
    tx, ty = x1 + 0.62 * (x2 - x1), y1 + 0.62 * (y2 - y1)
    label = " ".join(map(str, ports))
    return (
        f'<g data-from="{source}" data-to="{target}"><path d="M{x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}" '
        f'stroke="#37474f" marker-end="url(#tip)"/><text x="{tx:.0f}" y="{ty:.0f}" text-anchor="middle" '
        f'font-size="10" fill="#b71c1c" stroke="#fff" stroke-width="3" paint-order="stroke">{label}</text></g>'
    )


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "network.svg").write_text(draw(edges(rendered())))
