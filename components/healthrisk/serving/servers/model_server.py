"""A `kserve.ModelServer` on one verified bundle: arguments, start-up, limits, and a stop that loses no request."""

import argparse
import asyncio
import contextlib
import logging
import os
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import kserve.model_server
import prometheus_client
import uvicorn
import uvloop
from kserve.protocol.rest.server import RESTServer

import kserve
from healthrisk.bundle import Bundle
from healthrisk.errors import HealthriskError
from healthrisk.serving import grpc_front, http_server, log_export, logs, memory, openapi, tracing, use_recorder
from healthrisk.serving.admission import AdmissionController, Limits
from healthrisk.serving.app import ServingApp
from healthrisk.serving.body import Asgi
from healthrisk.serving.data_plane import DataPlane
from healthrisk.serving.metrics import ServerMetrics
from healthrisk.serving.metrics_page import MetricsPage
from healthrisk.serving.predictor_connections import PredictorAddress
from healthrisk.serving.reader_process import ReaderProcess
from healthrisk.serving.reading import Read, Reading
from healthrisk.serving.servers.arguments import METRICS_CONNECTIONS, arguments, check
from healthrisk.serving.servers.grpc_reading import MessageReading
from healthrisk.serving.servers.grpc_service import make_server
from healthrisk.serving.servers.served_model import BundleModel
from healthrisk.serving.use_recorder import UseRecorder

_log = logging.getLogger("healthrisk.server")
_TURN_SECONDS = 0.0005


class BundleServer(kserve.ModelServer):
    """Serves one model over REST and gRPC.

    It differs from its base in what `start` runs: our routes in front of kserve's application, a gRPC service that
    answers bad input with its own status, uvloop, and one way to stop for both protocols.
    """

    def __init__(self, args: argparse.Namespace, limits: Limits, bundle: Bundle) -> None:
        super().__init__(http_port=args.http_port, grpc_port=args.grpc_port, enable_grpc=args.enable_grpc)
        self.args = args
        self.bundle = bundle
        self.model_name = args.model_name or bundle.spec.name
        # A challenger answers to its model's name, and is counted under its own.
        self.public_name = args.public_name or self.model_name
        self.limits = limits
        self.metrics = ServerMetrics(self.model_name, bundle)
        self.admission = AdmissionController(self.limits)
        self.recorder: UseRecorder | None = None

    def predictor_address(self) -> PredictorAddress:
        """Return where the predictor is.

        Raises:
            ValueError: there is no --predictor_host, or its port is no number.
        """
        if not self.args.predictor_host:
            raise ValueError("--predictor_host is missing: expected HOST or HOST:PORT of the predictor")
        return self.address(self.args.predictor_host)

    def address(self, authority: str) -> PredictorAddress:
        """Return where a predictor is, which is asked as this server's options say."""
        tls = (
            ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE"))
            if self.args.predictor_use_ssl
            else None
        )
        return PredictorAddress.parse(authority, self.args.predictor_request_timeout_seconds, tls)

    def prepare(self, model: BundleModel) -> None:
        """Load the model, and get ready to read and record requests for it.

        Raises:
            HealthriskError: the model is not what its bundle says, or its requests cannot be recorded.
        """
        model.load()
        memory.settle()
        reading = Reading(model, self.limits)
        reads: dict[str, Read] = {"v1": reading.v1, "v2": reading.v2, "grpc": MessageReading(reading)}
        # Before anything here starts a thread or opens a file.
        self.reader = ReaderProcess(reads, self.limits)
        if model.recorded:
            self.recorder = use_recorder.from_settings(model, self.bundle.digest, self.admission)

    def start(self, models: list[BundleModel]) -> None:
        """Serve one loaded model until SIGTERM or SIGINT."""
        (model,) = models
        self.register_model(model)
        with contextlib.closing(self.reader):
            said = {"model": self.model_name, "version": self.bundle.version, "signature": self.bundle.signature}
            _log.info("serving", extra=said)
            service = f"{self.model_name}-{type(model).__name__.lower()}"
            log_export.export(service)
            tracer = tracing.tracer(service)
            data_plane = DataPlane(model, self.admission, self.metrics, tracer, self.reader, self.recorder)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(data_plane))

    async def _serve(self, data_plane: DataPlane) -> None:
        # Makes kserve's application, for what remains of its routes.
        RESTServer("", self.dataplane, self.model_repository_extension, self.http_port).create_application()
        app = kserve.model_server.app
        described = openapi.document(data_plane.model.metadata(), self.bundle.spec, data_plane.model.actions)
        app.openapi = lambda: described
        http, page = (
            self._http(ServingApp(app, data_plane), self.http_port, self.limits.max_connections),
            self._http(MetricsPage(), self.args.metrics_port, METRICS_CONNECTIONS),
        )
        http_server.drain_when_told(http, self.admission, self._announce_stop)
        scraped = asyncio.create_task(page.serve())
        async with self._grpc(data_plane) if self.enable_grpc else contextlib.nullcontext():
            await http.serve()
        if self.recorder:
            self.recorder.close()
        # Last, so that a scrape can still count what was answered while draining.
        page.should_exit = True
        await scraped

    @contextlib.asynccontextmanager
    async def _grpc(self, data_plane: DataPlane) -> AsyncIterator[None]:
        """Serve gRPC, on a socket that only this user can reach, and in front of it for clients."""
        with tempfile.TemporaryDirectory(prefix="healthrisk-grpc-") as folder:
            path = f"{folder}/socket"
            server = make_server(data_plane, path)
            await server.start()
            front = await grpc_front.listen(self.args.host, self.grpc_port, path, self.admission)
            try:
                yield
            finally:
                front.close()
                await server.stop(grace=self.grace_period)

    def _http(self, app: Asgi, port: int, connections: int) -> uvicorn.Server:
        return http_server.make(
            app,
            (self.args.host, port),
            self.admission,
            connections,
            timeout_keep_alive=self.timeout_keep_alive,
            timeout_graceful_shutdown=self.grace_period,
            ssl_certfile=self.ssl_certfile,
            ssl_keyfile=self.ssl_keyfile,
        )

    def _announce_stop(self) -> None:
        _log.info("stopping", extra={"model": self.model_name})


def open_bundle(address: str, digest: str | None, cache: Path) -> Bundle:
    """Return the verified bundle at an address.

    Raises:
        HealthriskError: there is none, or it is not whole.
    """
    if Path(address).is_dir():
        return Bundle.open(Path(address), digest)
    # The client of the object store takes 5 MB, which a folder saves.
    from healthrisk.bundle import store

    return store.fetch(address, digest, cache)


def serve(make: Callable[[BundleServer, Bundle], BundleModel]) -> int:
    """Verify the bundle, load the model that `make` makes of it, and serve it. Returns the exit code."""
    args = arguments()
    logs.configure(args.log_level)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        with tempfile.TemporaryDirectory(prefix="healthrisk-bundle-") as cache:
            limits = check(args)
            bundle = open_bundle(args.bundle, args.digest, Path(cache))
            server = BundleServer(args, limits, bundle)
            model = make(server, bundle)
            server.prepare(model)
    except (HealthriskError, ValueError, OSError) as error:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: {error}\n")
        return 1
    # While a thread reads a large request, the loop that answers others waits so long for its turn after every call of
    # the system: with Python's 5 ms forty connections that send keep health waiting for a second.
    sys.setswitchinterval(_TURN_SECONDS)
    server.start([model])
    return 0
