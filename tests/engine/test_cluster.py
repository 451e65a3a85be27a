"""Work on a real Dask cluster: the same comes out as in this process, whatever dies, and faults are named."""

import copy
import itertools
import operator
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthrisk import config, engine
from healthrisk.errors import ConfigError, EngineError
from tests.support import listening
from tests.support.dask_cluster import DaskCluster, dask_cluster, use
from tests.support.patience import ANSWER, until
from tests.support.servers import free_ports

pytestmark = pytest.mark.slow
FRAIL = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "1s"}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        cluster.start_worker()
        yield cluster


@pytest.fixture
def cluster(started: DaskCluster, monkeypatch: pytest.MonkeyPatch) -> DaskCluster:
    use(started, monkeypatch)
    return started


def test_results_come_in_the_items_order_and_items_are_read_when_their_turn_comes(cluster: DaskCluster) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in itertools.count():
            read.append(item)
            yield item

    with engine.connect() as tasks:
        assert list(itertools.islice(tasks.map(float, items()), 20)) == [float(item) for item in range(20)]
    assert len(read) < 40
    with engine.connect() as tasks:
        assert list(tasks.map(os.path.basename, [])) == []
        (worker,) = set(tasks.map(eval, ["__import__('os').getpid()"] * 3))
    assert worker != os.getpid()


def test_workers_that_die_cost_their_tasks_time_only(cluster: DaskCluster) -> None:
    mortal = [cluster.start_worker(fatal_task=3) for _ in range(2)]
    with engine.connect() as tasks:
        assert list(tasks.map(abs, range(0, -40, -1))) == list(range(40))
    assert [worker.wait(ANSWER) for worker in mortal] == [-signal.SIGKILL] * 2


def test_work_on_a_disk_that_workers_do_not_have_stays_here(
    cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table").mkdir()
    monkeypatch.chdir(tmp_path)
    pid = ["__import__('os').getpid()"]
    with engine.connect(tmp_path / "table", tmp_path.as_uri(), "s3://bucket/prefix/") as tasks:
        assert list(tasks.map(eval, pid)) != [os.getpid()]
    # Workers have another working directory; and of what is not there nobody can tell.
    for place in ("table", (tmp_path / "absent").as_uri()):
        with engine.connect(tmp_path, place) as tasks:
            assert list(tasks.map(eval, pid)) == [os.getpid()]


def test_states_are_merged_as_here_whatever_dies(cluster: DaskCluster) -> None:
    """By what alters its first argument, as counts do: nothing is counted twice."""
    items = [[number] for number in range(50)]
    mortal = cluster.start_worker(fatal_task=20)
    with engine.connect() as tasks:
        assert tasks.merge(copy.copy, items, operator.iadd) == list(range(50))
        assert tasks.merge(str, range(7), "({}{})".format) == "(((01)(23))((45)6))"
        with pytest.raises(ValueError, match="no state"):
            tasks.merge(str, [], operator.add)
        # What is wrong with one is said soon.
        with pytest.raises(ConfigError, match="level of evidence 'none'"):
            tasks.merge(config.level, itertools.chain(["full", "none"], itertools.repeat("full")), operator.add)
    assert mortal.wait(ANSWER) == -signal.SIGKILL


def test_what_a_function_raises_is_raised_here(cluster: DaskCluster) -> None:
    with engine.connect() as tasks, pytest.raises(ConfigError, match="level of evidence 'none'"):
        list(tasks.map(config.level, ["full", "none"]))


def test_what_no_worker_survives_is_an_error_and_no_worker_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dask_cluster(tmp_path, **FRAIL) as frail:
        use(frail, monkeypatch)
        frail.start_worker(fatal_task=1)
        with engine.connect() as tasks, pytest.raises(EngineError, match=f"{frail.address}: 1 workers died"):
            list(tasks.map(abs, [1]))
        lost = frail.start_worker()
        with engine.connect() as tasks:
            gone = frail.log("scheduler").count("Remove worker")
            lost.kill()
            until(lambda: frail.log("scheduler").count("Remove worker") > gone)
            with pytest.raises(EngineError, match=f"{frail.address}: no worker is left"):
                list(tasks.map(abs, [1]))
        monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "1")
        with pytest.raises(EngineError, match=f"{frail.address}: the Dask scheduler has no worker"), engine.connect():
            pass


def test_who_does_not_believe_it_is_not_served(cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEALTHRISK_DASK_CERTIFICATES")
    with pytest.raises(EngineError, match=rf"'{cluster.address}': .* TLS"), engine.connect():
        pass


def test_an_address_that_no_scheduler_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "1")
    monkeypatch.setenv("HEALTHRISK_DASK", address := f"tcp://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(EngineError, match=address), engine.connect():
        pass
    with listening.listening(listening.Handler) as url:
        monkeypatch.setenv("HEALTHRISK_DASK", address := url.replace("http", "tcp"))
        with pytest.raises(EngineError, match=address), engine.connect():
            pass


@pytest.mark.parametrize("text", ["127.0.0.1:8786", "http://127.0.0.1:8786", "tcp://127.0.0.1", "tcp://:8786"])
def test_what_is_no_address_is_said(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_DASK", text)
    with pytest.raises(ConfigError, match=r"expected tcp://HOST:PORT or tls://HOST:PORT"), engine.connect():
        pass


def test_a_scheduler_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "packages" / "numpy-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n")
    with dask_cluster(tmp_path, PYTHONPATH=str(other.parent)) as others:
        use(others, monkeypatch)
        with pytest.raises(EngineError, match=rf"{others.address} has numpy 1\.0, this process"), engine.connect():
            pass


def test_without_an_address_nothing_imports_dask() -> None:
    code = (
        "import sys; from healthrisk import engine; from healthrisk.evidence import nested_cv, robustness\n"
        "with engine.connect() as tasks, engine.parallel_config('threading', n_jobs=2): list(tasks.map(abs, [1]))\n"
        "sys.exit(bool({'dask', 'distributed'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
