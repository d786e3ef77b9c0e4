"""Drift of containers, seen through a real engine."""

import io
import tarfile

import pytest
from docker import DockerClient

from helix.adapters.probes import Check
from helix.errors import UnavailableError
from helix.topology.model import ProbeKind, Size
from infra.drift import servers
from infra.drift.model import Drift
from infra.fleet import engines
from infra.fleet.plan import Host
from infra.launch import Launch, secret
from infra.provider.secrets import derive
from infra.substrates.containers import Container
from infra.substrates.plan import Instance
from infra.substrates.volumes import LABEL
from infra.substrates.wanted import Host as Wanted
from tests.integration.fleet.conftest import IMAGE, Engine, import_image

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

SERVER, STACK = "drift1", "seen"
MASTER = bytes(32)
PUBLIC, PRIVATE, STORE = "/etc/helix/port", "/etc/helix/password", "/etc/helix/store"
MIB = 1024 * 1024


def lookup(name: str) -> str:
    return derive(MASTER, name)


def rendered(name: str) -> Container:
    """A container with a file of each sort."""
    size = Size(memory_mib=64, cores=0.1)
    launch = Launch(
        name=name,
        argv=("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"),
        check=Check(service=name, kind=ProbeKind.TEXT, host="127.0.0.1", port=1),
        cwd="/",
        env={"STAGE": "one"},
        files={PUBLIC: "port 1\n", PRIVATE: f"requirepass {secret('redis')}\n"},
        binaries={STORE: "AAECAw=="},
    )
    return Container(
        instance=Instance(service=name, name=name, index=0, step=0, server=SERVER, size=size),
        reference=IMAGE,
        uid=1000,
        fenced=False,
        launch=launch,
        ports=(),
        volumes=(),
    )


KEPT, CHANGED, GONE = rendered("kept"), rendered("changed"), rendered("gone")
FILES = {
    PUBLIC: b"port 1\n",
    PRIVATE: f"requirepass {lookup('redis')}\n".encode(),
    STORE: b"\x00\x01\x02\x03",
}


def packed(files: dict[str, bytes]) -> bytes:
    """The files as an engine takes them."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def place(client: DockerClient, one: Container, *, name: str = "") -> None:
    """As the substrate does."""
    made = client.containers.create(
        IMAGE,
        list(one.launch.argv[1:]),
        name=f"{STACK}-{name or one.name}",
        entrypoint=list(one.launch.argv[:1]),
        environment=one.launch.env,
        user=f"{one.uid}:{one.uid}",
        network_mode="host",
        labels={LABEL: STACK},
        mem_limit=one.memory_bytes,
        memswap_limit=one.memory_bytes,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )
    made.put_archive("/", packed(FILES))
    made.start()


@pytest.fixture(scope="module")
def server(engine: Engine) -> Host:
    """The shared engine with the three containers on it."""
    with engines.client(engine.host) as client:
        for one in (KEPT, CHANGED, GONE):
            place(client, one)
    return engine.host


def look(host: Host) -> list[Drift]:
    where = Wanted(engine=host.url, address=host.address)
    return servers.look(SERVER, where, stack=STACK, wanted=(KEPT, CHANGED, GONE), lookup=lookup)


def test_containers_as_rendered_have_not_drifted(server: Host) -> None:
    assert look(server) == []


def test_everything_done_behind_the_stacks_back_is_named(server: Host) -> None:
    with engines.client(server) as client:
        client.containers.get(f"{STACK}-gone").remove(force=True)
        changed = client.containers.get(f"{STACK}-changed")
        edits = {PUBLIC: b"port 2\n", STORE: b"\x00"}
        older = {PRIVATE: f"requirepass {derive(MASTER, 'redis', 2)}\n".encode()}
        changed.put_archive("/", packed(edits | older))
        changed.update(mem_limit=65 * MIB, memswap_limit=65 * MIB)
        changed.stop()
        place(client, KEPT, name="stray")

    assert [(drift.kind, drift.name) for drift in look(server)] == [
        ("image", "changed state"),
        ("config", "changed memory"),
        ("secret_age", "changed redis"),
        ("config", f"changed {PUBLIC}"),
        ("config", f"changed {STORE}"),
        ("image", "gone"),
        ("image", f"{STACK}-stray"),
    ]


def test_another_image_under_the_same_name_is_named(server: Host) -> None:
    with engines.client(server) as client:
        import_image(client.api)  # made anew: its digest is another one

    names = [drift.name for drift in look(server)]

    assert {"kept image", "changed image"} <= set(names)


def test_an_engine_that_is_away_is_named() -> None:
    nobody = Wanted(engine="tcp://127.0.0.1:9", address="127.0.0.1")

    with pytest.raises(UnavailableError, match=f"the engine of `{SERVER}` at tcp://127.0.0.1:9"):
        servers.look(SERVER, nobody, stack=STACK, wanted=(KEPT,), lookup=lookup)
