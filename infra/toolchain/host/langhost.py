"""The Python language host of the Pulumi engine, for machines without Pulumi's own release.

Serves the engine's LanguageRuntime with the stubs of the `pulumi` package. Each program runs in a
child process, by the executor beside this file.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from functools import partial
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import language_pb2 as proto
from pulumi.runtime.proto import language_pb2_grpc, plugin_pb2
from typing_extensions import override

EXECUTOR = Path(__file__).resolve().parent / "executor.py"
SHOWN = 32  # the executor's status when it has told the engine itself what went wrong
MESSAGE_BYTES_MAX = 400 * 1024 * 1024
CALLS_MAX = 16
CHUNK_BYTES = 65_536
ORPHAN_CHECK_S = 1.0

# Run by the program's interpreter: its packages, and what they say about plugins of theirs.
LIST_PACKAGES = """
import importlib.metadata, json
found = importlib.metadata.distributions()
print(json.dumps(sorted([each.metadata["Name"], each.version] for each in found)))
"""


def interpreter(info: proto.ProgramInfo, folder: str) -> str:
    """The Python of a program: of its `virtualenv` option, taken from `folder`, else our own."""
    options: dict[str, Any] = json_format.MessageToDict(info.options)
    if not options.get("virtualenv"):
        return sys.executable
    python = Path(folder, options["virtualenv"], "bin", "python")
    if not python.exists():
        raise FileNotFoundError(
            f"`{python}` does not exist; make the virtual environment that Pulumi.yaml names"
        )
    return str(python)


def outcome(status: int) -> proto.RunResponse:
    """What the engine is told about a program that ended with this status."""
    if status == SHOWN:
        return proto.RunResponse(bail=True)
    if status < 0:
        return proto.RunResponse(error=f"the program was ended by signal {-status}")
    return proto.RunResponse(error=f"the program exited with code {status}" if status else "")


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """One engine's programs: started, watched, ended with it."""

    def __init__(self, engine: str, env: Mapping[str, str]) -> None:
        self._engine = engine
        self._env = dict(env)
        self._children: set[subprocess.Popen[bytes]] = set()

    @override
    def Handshake(
        self, request: proto.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> proto.LanguageHandshakeResponse:
        del context
        self._engine = request.engine_address or self._engine
        return proto.LanguageHandshakeResponse()

    @override
    def GetPluginInfo(
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        del request, context
        return plugin_pb2.PluginInfo(version="")

    @override
    def About(
        self, request: proto.AboutRequest, context: grpc.ServicerContext
    ) -> proto.AboutResponse:
        del request, context
        return proto.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    @override
    def GetRequiredPackages(
        self, request: proto.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> proto.GetRequiredPackagesResponse:
        # An answer would make the CLI look for every installed SDK's plugin before each program.
        # Nothing is fetched here: a plugin is found when the first resource asks for it.
        del request, context
        return proto.GetRequiredPackagesResponse()

    @override
    def GetProgramDependencies(
        self, request: proto.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> proto.GetProgramDependenciesResponse:
        del context
        command = [interpreter(request.info, request.info.root_directory), "-c", LIST_PACKAGES]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return proto.GetProgramDependenciesResponse(
            dependencies=[proto.DependencyInfo(name=name, version=v) for name, v in found]
        )

    @override
    def InstallDependencies(
        self, request: proto.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[proto.InstallDependenciesResponse]:
        del request, context
        text = b"packages are installed by the project's own set-up: run `make setup`\n"
        yield proto.InstallDependenciesResponse(stdout=text)

    @override
    def Run(self, request: proto.RunRequest, context: grpc.ServicerContext) -> proto.RunResponse:
        del context
        try:
            python = interpreter(request.info, request.info.root_directory)
        except FileNotFoundError as error:
            return proto.RunResponse(error=str(error))
        settings = {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        child = subprocess.Popen(
            [python, "-u", "-P", str(EXECUTOR), *self._flags(request)],
            env=self._env | settings,
            stdin=subprocess.DEVNULL,
        )
        self._children.add(child)
        try:
            return outcome(child.wait())
        finally:
            self._children.discard(child)

    @override
    def RunPlugin(
        self, request: proto.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[proto.RunPluginResponse]:
        folder = request.info.program_directory
        settings = dict(pair.split("=", 1) for pair in request.env)
        child = subprocess.Popen(
            [interpreter(request.info, folder), "-u", folder, *request.args],
            cwd=request.pwd or None,
            env=self._env | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._children.add(child)
        context.add_callback(partial(_end, child))
        try:
            yield from _output(child)
            yield proto.RunPluginResponse(exitcode=child.wait())
        finally:
            self._children.discard(child)

    @override
    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        del context
        self.stop()
        return request

    def stop(self) -> None:
        """End every program that still runs."""
        for child in tuple(self._children):
            _end(child)

    def _flags(self, request: proto.RunRequest) -> list[str]:
        values = {
            "monitor": request.monitor_address,
            "engine": self._engine,
            "project": request.project,
            "stack": request.stack,
            "organization": request.organization,
            "root-directory": request.info.root_directory,
            "pwd": request.pwd,
            "parallel": request.parallel,
            "dry-run": request.dryRun,
        }
        folder = request.info.program_directory or request.pwd
        program = Path(folder, request.info.entry_point or ".")
        return [*(f"--{name}={value}" for name, value in values.items()), str(program)]


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()


def _output(child: subprocess.Popen[bytes]) -> Iterator[proto.RunPluginResponse]:
    """What a plugin writes, as it comes, until both its streams are closed."""
    chunks: queue.SimpleQueue[proto.RunPluginResponse | None] = queue.SimpleQueue()
    streams = ((child.stdout, _stdout), (child.stderr, _stderr))
    for stream, response in streams:
        threading.Thread(target=_pump, args=(stream, response, chunks), daemon=True).start()
    for _ in streams:
        while (chunk := chunks.get()) is not None:
            yield chunk


def _stdout(data: bytes) -> proto.RunPluginResponse:
    return proto.RunPluginResponse(stdout=data)


def _stderr(data: bytes) -> proto.RunPluginResponse:
    return proto.RunPluginResponse(stderr=data)


def _pump(
    stream: IO[bytes],
    response: Callable[[bytes], proto.RunPluginResponse],
    chunks: "queue.SimpleQueue[proto.RunPluginResponse | None]",
) -> None:
    # From the descriptor: a plugin's port line must not wait until a buffer is full.
    while data := os.read(stream.fileno(), CHUNK_BYTES):
        chunks.put(response(data))
    chunks.put(None)


def main() -> None:
    """Serve one engine, until it says so or is gone."""
    engine = sys.argv[-1] if len(sys.argv) > 1 else ""
    parent = os.getppid()
    limits = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(CALLS_MAX), options=limits)
    host = Host(engine, os.environ)  # noqa: TID251 - a composition root
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda _sign, _frame: stop.set())
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    while not stop.wait(ORPHAN_CHECK_S) and os.getppid() == parent:
        pass
    host.stop()
    server.stop(0)


if __name__ == "__main__":
    main()
