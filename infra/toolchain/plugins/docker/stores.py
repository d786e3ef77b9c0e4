"""Networks, volumes and images on an engine."""

import contextlib
from collections.abc import Mapping
from typing import Any

from docker.auth import resolve_repository_name
from docker.errors import APIError, DockerException, NotFound
from docker.utils import parse_repository_tag

from helix.errors import ConflictError, UnavailableError
from infra.toolchain.plugins.docker import bodies
from infra.toolchain.plugins.docker.inputs import Network, RemoteImage, Volume
from infra.toolchain.plugins.docker.server import HTTP_CONFLICT, Server
from infra.toolchain.plugins.docker.work import StoppedError, Work

Outputs = dict[str, object]


def create_network(server: Server, wanted: Network, work: Work) -> tuple[str, Outputs]:
    """A network of that name, which was not there before."""
    del work
    with server.plainly(f"network `{wanted.name}`"):
        if any(each["Name"] == wanted.name for each in server.api.networks(names=[wanted.name])):
            raise ConflictError(
                f"there is a network `{wanted.name}` on `{server.host}` already; remove it with "
                f"`docker network rm {wanted.name}`, or give this one another name"
            )
        made = server.api.create_network(
            wanted.name,
            driver=wanted.driver,
            internal=wanted.internal,
            labels=bodies.labels(wanted.labels),
            check_duplicate=True,
        )
        return str(made["Id"]), {"scope": server.api.inspect_network(made["Id"])["Scope"]}


def read_network(server: Server, identity: str, wanted: Network) -> tuple[Outputs, Outputs] | None:
    with server.plainly(f"network `{wanted.name}`"):
        try:
            return {"scope": server.api.inspect_network(identity)["Scope"]}, {}
        except NotFound:
            return None


def delete_network(server: Server, identity: str, wanted: Network, work: Work) -> None:
    del work
    with server.plainly(f"network `{wanted.name}`"), contextlib.suppress(NotFound):
        server.api.remove_network(identity)


def create_volume(server: Server, wanted: Volume, work: Work) -> tuple[str, Outputs]:
    """A volume of that name; one that was kept goes on with its data."""
    del work
    with server.plainly(f"volume `{wanted.name}`"):
        made = server.api.create_volume(
            wanted.name, driver=wanted.driver, labels=bodies.labels(wanted.labels)
        )
        return wanted.name, {"mountpoint": made["Mountpoint"]}


def read_volume(server: Server, identity: str, wanted: Volume) -> tuple[Outputs, Outputs] | None:
    with server.plainly(f"volume `{wanted.name}`"):
        try:
            return {"mountpoint": server.api.inspect_volume(identity)["Mountpoint"]}, {}
        except NotFound:
            return None


def delete_volume(server: Server, identity: str, wanted: Volume, work: Work) -> None:
    del work
    with server.plainly(f"volume `{wanted.name}`"), contextlib.suppress(NotFound):
        server.api.remove_volume(identity)


def create_image(server: Server, wanted: RemoteImage, work: Work) -> tuple[str, Outputs]:
    """The engine has the image: its own if it has one of that name, else pulled."""
    found = _image(server, wanted.name) or _pull(server, wanted.name, work)
    return f"{found['Id']}{wanted.name}", _told(found)


def update_image(server: Server, identity: str, wanted: RemoteImage, work: Work) -> Outputs:
    """Another trigger pulls it again, whatever the engine has."""
    del identity
    return _told(_pull(server, wanted.name, work))


def read_image(
    server: Server, identity: str, wanted: RemoteImage
) -> tuple[Outputs, Outputs] | None:
    del identity
    found = _image(server, wanted.name)
    return (_told(found), {}) if found else None


def delete_image(server: Server, identity: str, wanted: RemoteImage, work: Work) -> None:
    """Gone from the engine, unless it is to be kept there."""
    del identity, work
    if wanted.keep_locally:
        return
    with server.plainly(f"image `{wanted.name}`"):
        try:
            server.api.remove_image(wanted.name)
        except NotFound:
            pass
        except APIError as error:
            if error.status_code != HTTP_CONFLICT:
                raise
            raise ConflictError(
                f"image `{wanted.name}` on `{server.host}` is in use: {error.explanation}; remove "
                "those containers, or set `keep_locally`"
            ) from error


def _image(server: Server, name: str) -> Mapping[str, Any] | None:
    with server.plainly(f"image `{name}`"):
        try:
            return server.api.inspect_image(name)
        except NotFound:
            return None


def _told(found: Mapping[str, Any]) -> Outputs:
    digests = found.get("RepoDigests") or [""]
    return {"imageId": found["Id"], "repoDigest": digests[0]}


def _pull(server: Server, name: str, work: Work) -> Mapping[str, Any]:
    work.report("pulling")
    try:
        for line in server.api.pull(
            name, auth_config=_auth(server, name), stream=True, decode=True
        ):
            if work.stopping.is_set():
                raise StoppedError(name)
            if "error" in line:
                raise _absent(server, name, str(line["error"]))
            work.report(f"pulling: {line.get('status', '')}")
    except DockerException as error:
        reason = error.explanation if isinstance(error, APIError) else error
        raise _absent(server, name, str(reason)) from error
    if found := _image(server, name):
        return found
    raise _absent(server, name, "the engine does not have it afterwards")


def _absent(server: Server, name: str, reason: str) -> UnavailableError:
    return UnavailableError(
        "docker",
        f"image `{name}` cannot be pulled to `{server.host}`: {reason}; correct its "
        "name or the provider's `registry_auth`, or bring it there with `docker save` and "
        "`docker load`",
    )


def _auth(server: Server, name: str) -> dict[str, str] | None:
    registry, _ = resolve_repository_name(parse_repository_tag(name)[0])
    for auth in server.settings.registry_auth:
        if auth.address.split("://")[-1].rstrip("/") == registry:
            return {"username": auth.username, "password": auth.password}
    return None
