"""Load on a served model: single patients and batches, with objectives that pass or fail.

    make load URL=http://HOST:PORT [USERS=N] [DURATION=SECONDS]

Rows are drawn within what the server's own OpenAPI document allows, so any model will do. Every answer is checked.
Objectives: no failure; average, 95th and 99th percentile of each kind of request; requests a second in all.
"""

import json
import random
from typing import Any

import gevent
import requests
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.stats import StatsEntry

BATCH_ROWS = 100
# In milliseconds.
AVERAGE, P95, P99 = 100, 200, 500
Schema = dict[str, Any]


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--model", default="", help="the model's name; by default the server's first")
    parser.add_argument("--least-rate", type=float, default=1000, help="requests a second that must be reached")


@events.test_start.add_listener
def describe(environment: Environment, **_: Any) -> None:
    """Learn the model's name and what its values may be."""
    host, options = environment.host.rstrip("/"), environment.parsed_options
    name = options.model or requests.get(f"{host}/v2/models", timeout=10).json()["models"][0]
    paths = requests.get(f"{host}/openapi.json", timeout=10).json()["paths"]
    body = paths[f"/v1/models/{name}:predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    instance = body["properties"]["instances"]["items"]["properties"]
    PatientUser.path = f"/v2/models/{name}/infer"
    PatientUser.singles = [request_of(instance, 1) for _ in range(200)]
    PatientUser.batches = [request_of(instance, BATCH_ROWS) for _ in range(10)]


def request_of(instance: dict[str, Schema], rows: int) -> bytes:
    """Return the body of a v2 request of random rows: one tensor a feature."""
    inputs = []
    for name, schema in instance.items():
        values = [value_of(schema["anyOf"][0]) for _ in range(rows)]
        datatype = "BYTES" if isinstance(values[0], str) else "FP64"
        inputs.append({"name": name, "datatype": datatype, "shape": [rows], "data": values})
    return json.dumps({"inputs": inputs}).encode()


def value_of(schema: Schema) -> Any:
    """Return a random value of a schema: one of a list, or a number within bounds."""
    if "enum" in schema:
        return random.choice(schema["enum"])
    if schema["type"] == "integer":
        return random.randint(int(schema["minimum"]), int(schema["maximum"]))
    return round(random.uniform(schema["minimum"], schema["maximum"]), 1)


class PatientUser(FastHttpUser):
    """Asks about one patient after the other, and about a batch now and then, without a pause."""

    wait_time = constant(0)
    path = ""
    singles: list[bytes]
    batches: list[bytes]

    @task(50)
    def single(self) -> None:
        self._ask(random.choice(self.singles), 1)

    @task(1)
    def batch(self) -> None:
        self._ask(random.choice(self.batches), BATCH_ROWS)

    def _ask(self, body: bytes, rows: int) -> None:
        name = "single" if rows == 1 else f"batch of {rows}"
        headers = {"content-type": "application/json"}
        with self.client.post(self.path, data=body, headers=headers, name=name, catch_response=True) as answer:
            if answer.status_code == 503:
                answer.failure("overloaded")
                gevent.sleep(float(answer.headers.get("retry-after", 1)))
            elif answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
            elif (shape := answer.json()["outputs"][0]["shape"]) != [rows]:
                answer.failure(f"the first output has shape {shape}, expected [{rows}]")


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Print every objective with what was measured; one that is not met makes the exit code 1."""
    total = environment.stats.total
    checks = [
        ("failures", total.num_failures, "=", 0),
        ("requests a second", total.total_rps, ">=", environment.parsed_options.least_rate),
        *(check for entry in environment.stats.entries.values() for check in latencies(entry)),
    ]
    failed = 0
    for name, measured, relation, bound in checks:
        met = {"=": measured == bound, "<": measured < bound, ">=": measured >= bound}[relation]
        failed += not met
        print(f"{'pass' if met else 'FAIL'}  {name:<30}{measured:>10,.1f}  {relation} {bound:,g}")
    environment.process_exit_code = 1 if failed or not total.num_requests else 0


def latencies(entry: StatsEntry) -> list[tuple[str, float, str, float]]:
    """Return the objectives of one kind of request."""
    measured = {"average": entry.avg_response_time, "p95": entry.get_response_time_percentile(0.95)}
    measured["p99"] = entry.get_response_time_percentile(0.99)
    bounds = {"average": AVERAGE, "p95": P95, "p99": P99}
    return [(f"{entry.name}: {kind}, ms", value, "<", bounds[kind]) for kind, value in measured.items()]
