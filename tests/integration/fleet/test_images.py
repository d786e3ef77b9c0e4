"""Images built by a real engine that reaches nothing, on a base made from nothing."""

import gc
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from helix.errors import UnavailableError
from helix.topology.catalog import CATALOG
from infra.images.engine import Engine
from infra.images.staging import context, files
from tests.integration.fleet.conftest import Engine as Shared
from tests.tree import ROOT

pytestmark = [
    pytest.mark.integration,
    pytest.mark.enable_socket,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

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


@pytest.fixture
def address(engine: Shared) -> str:
    return engine.url


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
