"""The gRPC server: a table from RPC name to method for each service, built from the resource classes and the service's own descriptor.

A name served twice stops the start; a name that nobody serves answers UNIMPLEMENTED. Modal has two services, with callers that prove
themselves in different ways. Beside them stands the operator's: what the `freehold` command asks, by name, in JSON.
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from modal_proto import api_pb2, task_command_router_pb2

from freehold.control.caller import Caller
from freehold.control.rpc.edge import Callers, Edge
from freehold.control.rpc.sockets import open_to_containers, short_path
from freehold.domain import clients
from freehold.domain.errors import PermissionDenied, Unavailable
from freehold.wire import operator

CLIENT = api_pb2.DESCRIPTOR.services_by_name["ModalClient"]
COMMAND_ROUTER = task_command_router_pb2.DESCRIPTOR.services_by_name["TaskCommandRouter"]

_OPTIONS = [
    ("grpc.max_receive_message_length", 128 * 1024 * 1024),  # the client sends up to 100 MiB in one message
    ("grpc.max_send_message_length", 128 * 1024 * 1024),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # the client pings every 30 s, also when idle
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),  # a second engine on this port must fail, not share it
]

Handler = Callable[[Any, Caller], Any]
Operation = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def served_by(resources: Iterable[object], service: Any = CLIENT) -> dict[str, Handler]:
    """RPC name → bound method, for every RPC of a service that one of the resources has. Serving a name twice is an error of ours."""
    table: dict[str, Handler] = {}
    for resource in resources:
        for name in service.methods_by_name:
            method = getattr(resource, name, None)
            if method is None:
                continue
            if name in table:
                msg = f"{name} is served by {type(resource).__name__} and by another class."
                raise ValueError(msg)
            table[name] = method
    return table


def _service_handler(service: Any, resources: Iterable[object], edge: Edge) -> grpc.GenericRpcHandler:
    served = served_by(resources, service)
    handlers = {
        name: _method_handler(method, served[name], edge) if name in served else _refusal(service, name)
        for name, method in service.methods_by_name.items()
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _method_handler(method: Any, handler: Handler, edge: Edge) -> "grpc.RpcMethodHandler[Any, Any]":
    name = method.name
    parse = message_factory.GetMessageClass(method.input_type).FromString
    serialize = message_factory.GetMessageClass(method.output_type).SerializeToString
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(edge.stream(name, handler, parse), response_serializer=serialize)
    if not inspect.iscoroutinefunction(handler):
        msg = f"{name} must be a coroutine function."
        raise TypeError(msg)
    if method.client_streaming:
        return grpc.stream_unary_rpc_method_handler(edge.upload(name, handler, parse), response_serializer=serialize)
    return grpc.unary_unary_rpc_method_handler(edge.unary(name, handler, parse), response_serializer=serialize)


def _operation_handler(name: str, operation: Operation, edge: Edge) -> "grpc.RpcMethodHandler[Any, Any]":
    async def run(request: dict[str, Any], caller: Caller) -> dict[str, Any]:
        if caller.is_task:
            msg = "Containers may not ask what only the owner of the engine may ask."
            raise PermissionDenied(msg)
        return await operation(request)

    return grpc.unary_unary_rpc_method_handler(edge.unary(name, run, operator.decode), response_serializer=operator.encode)


class _NamesOfOtherVersions(grpc.GenericRpcHandler):
    """What clients call that are older or newer than the protocol that is spoken here. Asked last."""

    def service(self, details: "grpc.HandlerCallDetails") -> "grpc.RpcMethodHandler[Any, Any] | None":
        service, _, name = details.method.removeprefix("/").partition("/")
        return next((_refusal(known, name) for known in (CLIENT, COMMAND_ROUTER) if known.full_name == service), None)


def _refusal(service: Any, name: str) -> "grpc.RpcMethodHandler[Any, Any]":
    """Unknown names would be refused by gRPC itself, but not in words that help."""

    async def refuse(_request: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        text = f"This version of Freehold does not serve {name}. What it serves: docs/reference/rpc-coverage.md."
        if name not in service.methods_by_name:
            text = (
                f"This version of Freehold does not know {name}: it speaks as modal {clients.NEWEST} does, and your client is another one."
            )
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)

    return grpc.unary_unary_rpc_method_handler(refuse)


@asynccontextmanager
async def serve(
    resources: Iterable[object],
    *,
    operations: Mapping[str, Operation],
    authenticator: Callers,
    passes: Callers,
    address: str,
    socket_path: Path,
    before_bind: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Serve on `address` (clients) and on a unix socket (containers) until the block ends. `passes` says who calls the
    command router, `authenticator` who calls anything else.
    """
    logging.getLogger("grpc").setLevel(logging.ERROR)
    resources = list(resources)
    server = grpc.aio.server(options=_OPTIONS)
    before_bind()
    _bind_port(server, address)
    async with asyncio.TaskGroup() as handling:  # left when the last call that changes something has ended
        edge = Edge(authenticator, handling)
        server.add_generic_rpc_handlers((_service_handler(CLIENT, resources, edge),))
        server.add_generic_rpc_handlers((_service_handler(COMMAND_ROUTER, resources, Edge(passes, handling)),))
        own = {name: _operation_handler(name, operation, edge) for name, operation in operations.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(operator.SERVICE, own),))
        server.add_generic_rpc_handlers((_NamesOfOtherVersions(),))
        with _bound_socket(server, socket_path):
            await server.start()
            try:
                yield
            finally:
                await server.stop(grace=1.0)


def _bind_port(server: grpc.aio.Server, address: str) -> None:
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        msg = f"Cannot listen on {address}: the port is taken. Choose another with FREEHOLD_CONTROL_PORT."
        raise Unavailable(msg) from error


@contextmanager
def _bound_socket(server: grpc.aio.Server, socket_path: Path) -> Iterator[None]:
    with short_path(socket_path) as address:
        server.add_insecure_port(f"unix:{address}")
        open_to_containers(socket_path)
        yield
