"""What gRPC's own tools ask of a server: grpc.health.v1 for probes and balancers, and reflection for grpcurl."""

from typing import Any

from google.protobuf import descriptor_pool
from grpc import StatusCode, aio, method_handlers_generic_handler, unary_stream_rpc_method_handler
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.data_plane import DataPlane
from healthrisk.serving.servers.grpc_methods import SmallMethods

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


class HealthService:
    """Says whether a service takes requests; the empty name stands for the whole server."""

    def __init__(self, admission: AdmissionController, services: tuple[str, ...]) -> None:
        self._admission = admission
        self._services = frozenset(("", *services))

    async def Check(self, request: Any, context: aio.ServicerContext) -> Any:  # noqa: N802, D102
        if request.service not in self._services:
            context.set_code(StatusCode.NOT_FOUND)
            context.set_details("there is no such service")
            return health_pb2.HealthCheckResponse()
        state = "NOT_SERVING" if self._admission.draining else "SERVING"
        return health_pb2.HealthCheckResponse(status=state)

    async def Watch(self, request: Any, context: aio.ServicerContext) -> None:  # noqa: ARG002, N802
        """Refuse: a watcher would hold a connection for as long as it likes."""
        context.set_code(StatusCode.UNIMPLEMENTED)
        context.set_details("ask by Check")


class _Symbols:
    """protobuf's descriptors, in which a method is found as well: ghz asks for the method that it calls."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802
        """Return the file of a symbol.

        Raises:
            KeyError: there is no such symbol.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            described = self._pool.FindServiceByName(service)
            return described.methods_by_name[method].containing_service.file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


def add_health_and_reflection(server: aio.Server, data_plane: DataPlane, names: tuple[str, ...]) -> None:
    """Let a server answer what is asked of its services, by their full names."""
    small = SmallMethods(data_plane)
    health, check = HealthService(data_plane.admission, names), _HEALTH.methods_by_name["Check"]
    methods = {"Check": small.unary(check, health.Check), "Watch": unary_stream_rpc_method_handler(health.Watch)}
    listed = reflection.aio.ReflectionServicer((*names, _HEALTH.full_name, _REFLECTION.full_name), pool=_Symbols())
    (info,) = _REFLECTION.methods
    streams = {info.name: small.stream(info, listed.ServerReflectionInfo)}
    server.add_generic_rpc_handlers(
        (
            method_handlers_generic_handler(_HEALTH.full_name, methods),
            method_handlers_generic_handler(_REFLECTION.full_name, streams),
        )
    )
