"""A real Dask cluster on this machine: scheduler and workers as their own commands start them, with TLS."""

import datetime
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.patience import until
from tests.support.servers import free_ports

DASK = Path(sys.executable).parent / "dask"
DEATH = Path(__file__).with_name("dask_death.py")


@dataclass
class DaskCluster:
    """A scheduler, its workers, and the folder of certificates that all of them and their clients have."""

    folder: Path
    address: str
    certificates: Path
    running: ExitStack = field(default_factory=ExitStack)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start `dask WORDS`; it ends with the cluster."""
        names = {"--tls-ca-file": "ca.crt", "--tls-cert": "tls.crt", "--tls-key": "tls.key"}
        tls = [f"{option}={self.certificates / name}" for option, name in names.items()]
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [DASK, *words, *tls], stdout=log, stderr=log, env=os.environ | environment, cwd=self.folder
            )
        self.running.callback(_end, process)
        return process

    def start_worker(self, fatal_task: int = 0, fatal_put: int = 0) -> subprocess.Popen[bytes]:
        """Start a worker of one thread and wait until it has joined; it dies of a task, or of putting an object."""
        joined = self.log("scheduler").count("Register worker")
        options = ("--no-nanny", "--no-dashboard", "--nthreads=1", "--memory-limit=0", "--host=127.0.0.1")
        deaths = {"TESTS_FATAL_TASK": str(fatal_task), "TESTS_FATAL_PUT": str(fatal_put)}
        worker = self.start("worker", self.address, *options, f"--preload={DEATH}", **deaths)

        def has_joined() -> bool:
            assert worker.poll() is None, self.log("worker")
            return self.log("scheduler").count("Register worker") > joined

        until(has_joined)
        return worker

    def log(self, what: str) -> str:
        return (self.folder / f"{what}.log").read_text()


@contextmanager
def dask_cluster(folder: Path, **environment: str) -> Iterator[DaskCluster]:
    """Yield a cluster with no worker yet; `environment` is its scheduler's."""
    (port,) = free_ports(1)
    cluster = DaskCluster(folder, f"tls://127.0.0.1:{port}", _certify(folder / "certificates"))
    with cluster.running:
        options = ("--host=127.0.0.1", f"--port={port}", "--dashboard-address=127.0.0.1:0")
        scheduler = cluster.start("scheduler", *options, **environment)

        def listens() -> bool:
            assert scheduler.poll() is None, cluster.log("scheduler")
            return "Scheduler at:" in cluster.log("scheduler")

        until(listens)
        yield cluster


def use(cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process hand its work to a cluster."""
    monkeypatch.setenv("HEALTHRISK_DASK", cluster.address)
    monkeypatch.setenv("HEALTHRISK_DASK_CERTIFICATES", str(cluster.certificates))
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "600")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _certify(folder: Path) -> Path:
    """Write a certificate that signs itself, as that of everybody and of whom everybody believes."""
    folder.mkdir(parents=True)
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    (folder / "ca.crt").write_bytes(certificate)
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder
