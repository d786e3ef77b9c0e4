"""Images built by a real engine, alone in a network namespace, on a base made from nothing."""

import gc
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest

from helix.errors import UnavailableError
from helix.topology.catalog import CATALOG
from infra.images.engine import Engine
from infra.images.staging import context, files
from tests.tree import ROOT
from tests.waiting import until

TOOLS = ("ip", "nsenter", "dockerd")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.enable_socket,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, TOOLS)),
        reason=f"needs root and {', '.join(TOOLS)}",
    ),
]

NAMESPACE = "heliximages"
READY_S_MAX = 20.0
STOP_S_MAX = 15.0
KAFKA = CATALOG.image("kafka")
JAR = "lib/jmx_prometheus_javaagent-1.0.1.jar"
PLACE = f"/opt/kafka/libs/{Path(JAR).name}"
VALUES = {
    "NAME": "kafka",
    "VERSION": "0.1.0",
    "COMMIT": "c0ffee",
    "ACCOUNT": str(KAFKA.uid),
}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """The SDK leaves its connections to a unix socket to the garbage collector, which warns."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine that can reach nothing, without bridge and without rules."""
    home = tmp_path_factory.mktemp("engine")
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    address = f"unix://{home}/socket"
    # Not `ip netns exec`, which hides the control groups.
    argv = ["nsenter", f"--net=/var/run/netns/{NAMESPACE}", "dockerd", "-H", address]
    argv += ["--bridge=none", "--iptables=false", "--ip-forward=false"]
    argv += [f"--{name}={home / name}" for name in ("data-root", "exec-root", "pidfile")]
    with (home / "log").open("wb") as log:
        engine = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        until(lambda: _answers(f"{home}/socket"), what="the engine answers", s_max=READY_S_MAX)
        yield address
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.wait(STOP_S_MAX)
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in sorted(place for place in mounted if place.startswith(str(home))):
            subprocess.run(["umount", "-l", place], check=False)
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)


def _answers(path: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as wire:
        wire.connect(path)
        wire.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 " in wire.recv(64)
    return False


@pytest.fixture
def client(address: str) -> Iterator[Any]:  # the SDK is untyped
    found = docker.DockerClient(base_url=address)
    yield found
    found.close()


@pytest.fixture
def base(client: Any) -> str:
    """A file system of one folder, of an account of its own."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name in ("opt", "opt/kafka", "opt/kafka/libs"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, folder.uid = tarfile.DIRTYPE, 0o750, 1000
            tar.addfile(folder)
    client.api.import_image_from_data(sink.getvalue(), repository="base", tag="1")
    return "base:1"


@pytest.fixture
def sent(tmp_path: Path) -> bytes:
    jar = tmp_path / JAR
    jar.parent.mkdir()
    jar.write_bytes(b"jar")
    return context(KAFKA, files(KAFKA, root=ROOT, artifact=lambda _: tmp_path), root=ROOT)


def test_an_image_of_ours_is_the_base_and_its_parts(
    address: str, client: Any, base: str, sent: bytes
) -> None:
    said: list[str] = []

    Engine(address, {}).build(KAFKA.reference, sent, {**VALUES, "BASE": base}, said.append)

    made = client.images.get(KAFKA.reference).attrs
    assert made["Config"]["User"] == str(KAFKA.uid)
    assert made["Config"]["Labels"]["org.opencontainers.image.revision"] == "c0ffee"
    assert any("ADD parts.tar" in line for line in said)
    container = client.api.create_container(KAFKA.reference, "/none")
    try:
        for path, uid, mode in ((PLACE, 0, 0o644), ("/opt/kafka/libs", 1000, 0o750)):
            stream, _ = client.api.get_archive(container, path)
            with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
                entry = tar.getmembers()[0]
            assert (entry.uid, entry.mode & 0o777) == (uid, mode)
    finally:
        client.api.remove_container(container)


def test_another_commit_with_the_same_parts_keeps_the_layers(
    address: str, client: Any, base: str, sent: bytes
) -> None:
    engine = Engine(address, {})
    layers: list[list[str]] = []
    for commit in ("one", "two"):
        values = {**VALUES, "BASE": base, "COMMIT": commit}
        made = engine.build(f"helix/kafka:{commit}", sent, values, [].append)
        layers.append(client.images.get(made).attrs["RootFS"]["Layers"])

    assert layers[0] == layers[1]


def test_a_base_that_cannot_be_had_is_said_with_what_to_do(address: str, sent: bytes) -> None:
    with pytest.raises(UnavailableError, match="`--base`"):
        Engine(address, {}).build("x:1", sent, {**VALUES, "BASE": "127.0.0.1:9/none:1"}, [].append)


def test_a_registry_that_is_away_locks_nothing(address: str) -> None:
    with pytest.raises(UnavailableError, match="the engine did not do it"):
        Engine(address, {}).digest("127.0.0.1:9/none:1")
