"""A provider as a plugin process: plain error texts, and gone when its parent is."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import Provider
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from helix.errors import UnavailableError

MESSAGE_BYTES_MAX = 400 * 1024 * 1024  # the engine's own limit
PARENT_LOOK_S = 1.0
THREADS_MAX = 64  # waiting for readiness takes a thread each
LOG_S_MAX = 5.0


class HalfMadeError(UnavailableError):
    """The resource exists but does not work: the state keeps it, and the next `up` mends it."""

    def __init__(
        self, service: str, message: str, *, identity: str, properties: Mapping[str, PropertyValue]
    ) -> None:
        super().__init__(service, message)
        self.identity = identity
        self.properties = properties

    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        """What tells the engine so, beside the text."""
        detail = provider_pb2.ErrorResourceInitFailed(
            id=self.identity,
            properties=PropertyValue.marshal_map(dict(self.properties)),
            reasons=[self.message],
        )
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=self.message)
        status.details.add().Pack(detail)
        return (("grpc-status-details-bin", status.SerializeToString()),)


class Engine:
    """The engine that started us: what it is told appears beside the resource while it works."""

    def __init__(self, address: str) -> None:
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address)) if address else None

    def reporter(self, urn: str) -> Callable[[str], None]:
        """Shows each new text as the resource's state of the moment."""
        last = ""

        def report(text: str) -> None:
            nonlocal last
            if text != last and self._stub:
                last = text
                request = engine_pb2.LogRequest(
                    severity=engine_pb2.INFO, message=text, urn=urn, ephemeral=True
                )
                with contextlib.suppress(grpc.RpcError):  # only a display: never a reason to fail
                    self._stub.Log(request, timeout=LOG_S_MAX)

        return report


class PlainErrors(grpc.aio.ServerInterceptor):
    """The wheel would show `Unexpected <class 'RuntimeError'>: ...`; so errors are their text."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def plainly(request: Any, context: Any) -> Any:
            try:
                return await handler.unary_unary(request, context)
            except (grpc.aio.AbortError, NotImplementedError):  # those have their status already
                raise
            except HalfMadeError as error:
                await context.abort(grpc.StatusCode.UNKNOWN, error.message, error.metadata())
            except Exception as error:  # noqa: BLE001 - the border: it becomes the user's text
                await context.abort(grpc.StatusCode.UNKNOWN, str(error) or type(error).__name__)

        return grpc.unary_unary_rpc_method_handler(
            plainly, handler.request_deserializer, handler.response_serializer
        )


def serve(
    provider: Provider,
    *,
    version: str,
    args: Sequence[str],
    orphaned: Callable[[], None] = lambda: None,
) -> None:
    """Serves until ended; calls `orphaned` and leaves when the program that started us is gone."""
    _leave_with_parent(orphaned)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(provider, version, args))


async def _serve(provider: Provider, version: str, args: Sequence[str]) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS_MAX))
    limits = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
    server = grpc.aio.server(
        options=[(limit, MESSAGE_BYTES_MAX) for limit in limits], interceptors=[PlainErrors()]
    )
    servicer = ProviderServicer(list(args), version, provider, engine_address=address(args))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")  # the plugin protocol: the port is the first line
    sys.stdout.flush()
    await server.wait_for_termination()


def address(args: Sequence[str]) -> str:
    """Where the engine listens: the only argument that is no option."""
    return next((word for word in args if not word.startswith("-")), "")


def _leave_with_parent(orphaned: Callable[[], None]) -> None:
    """A killed CLI does not close its plugins."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(PARENT_LOOK_S)
        orphaned()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
