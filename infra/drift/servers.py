"""The containers of the servers as rendered against those that their engines run."""

import base64
import contextlib
import io
import shlex
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from docker import DockerClient
from docker.errors import DockerException, ImageNotFound, NotFound
from docker.models.containers import Container as Live
from requests.exceptions import RequestException

from helix.errors import UnavailableError
from helix.topology.model import Service
from infra.drift.model import ABSENT, PRESENT, Cure, Drift, Kind
from infra.drift.running import Lookup, Process, differences, environment
from infra.substrates.containers import Container, containers, job
from infra.substrates.engine import client
from infra.substrates.hosted import Hosted
from infra.substrates.volumes import LABEL
from infra.substrates.wanted import Host

RUNNING = "running"
EXITED = "exited"
STATE, IMAGE = "state", "image"


def planned(site: Hosted, services: Sequence[Service]) -> dict[str, list[Container]]:
    """The containers of each server, the one that fills the stores among them."""
    rendered = [one for service in services for one in containers(site, service)]
    by_server: dict[str, list[Container]] = {}
    for one in [*rendered, job(site)]:
        by_server.setdefault(one.instance.server, []).append(one)
    return by_server


def look(
    server: str, host: Host, *, stack: str, wanted: Sequence[Container], lookup: Lookup
) -> list[Drift]:
    """Every container of one server; `UnavailableError` when its engine does not answer."""
    try:
        with contextlib.closing(client(host)) as engine:
            found = engine.containers.list(all=True, filters={"label": f"{LABEL}={stack}"})
            live = {str(one.name): one for one in found}
            return list(_all(engine, stack, wanted, live, lookup))
    except (DockerException, RequestException) as error:
        raise UnavailableError(
            server, f"the engine of `{server}` at {host.engine}: {error}: start it and look again"
        ) from error


def _all(
    client: DockerClient,
    stack: str,
    wanted: Sequence[Container],
    live: Mapping[str, Live],
    lookup: Lookup,
) -> Iterator[Drift]:
    names = {f"{stack}-{one.name}": one for one in wanted}
    for name, one in names.items():
        if name in live:
            there = _found(one, live[name])
            yield from differences(declared(one, _image_id(client, one.reference)), there, lookup)
        else:
            yield _container(one.name, PRESENT, ABSENT, Cure.UP)
    for name in sorted(live.keys() - names.keys()):
        yield _container(name, ABSENT, PRESENT, Cure.DECIDE)


def declared(one: Container, image: str) -> Process:
    """What the rendering asks for; `image` is what its reference stands for on the server."""
    launch = one.launch
    return Process(
        name=one.name,
        image={STATE: f"{EXITED} 0" if one.ends else RUNNING, IMAGE: image},
        settings={
            "command": shlex.join(launch.argv),
            "user": f"{one.uid}:{one.uid}",
            "memory": str(one.memory_bytes),
            "capabilities dropped": "ALL",
            "security": "no-new-privileges",
            "network": "host",
        },
        texts={**environment(launch.env), **launch.files, **launch.binaries},
    )


def inspected(one: Container, attrs: Mapping[str, Any]) -> Process:
    """What the engine says of the container: of its environment, the variables we set."""
    config, host = attrs["Config"], attrs["HostConfig"]
    env = dict(text.split("=", 1) for text in config["Env"] or () if "=" in text)
    return Process(
        name=one.name,
        image={STATE: _state(attrs["State"]), IMAGE: attrs["Image"]},
        settings={
            "command": shlex.join([*(config["Entrypoint"] or ()), *(config["Cmd"] or ())]),
            "user": config["User"],
            "memory": str(host["Memory"]),
            "capabilities dropped": " ".join(host["CapDrop"] or ()),
            "security": " ".join(host["SecurityOpt"] or ()),
            "network": host["NetworkMode"],
        },
        texts=environment({name: env[name] for name in one.launch.env if name in env}),
    )


def _found(one: Container, live: Live) -> Process:
    told = inspected(one, live.attrs)
    texts, binaries = one.launch.files, one.launch.binaries
    read = {path: _read(live, path) for path in (*texts, *binaries)}
    files = {
        path: base64.b64encode(octets).decode()
        if path in binaries
        else octets.decode(errors="replace")
        for path, octets in read.items()
        if octets is not None
    }
    return Process(
        name=told.name, image=told.image, settings=told.settings, texts=told.texts | files
    )


def _state(state: Mapping[str, Any]) -> str:
    status = str(state["Status"])
    return f"{status} {state['ExitCode']}" if status == EXITED else status


def _read(live: Live, path: str) -> bytes | None:
    """The file as it is inside the container; None where it is gone."""
    try:
        stream, _ = live.get_archive(path)
    except NotFound:
        return None
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        file = archive.extractfile(archive.getmembers()[0])
        return file.read() if file else None


def _image_id(client: DockerClient, reference: str) -> str:
    try:
        return str(client.images.get(reference).id)
    except ImageNotFound:
        return reference


def _container(name: str, declared: str, live: str, cure: Cure) -> Drift:
    return Drift(kind=Kind.IMAGE, name=name, declared=declared, live=live, cure=cure)
