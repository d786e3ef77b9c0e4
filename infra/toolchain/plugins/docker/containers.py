"""Containers on an engine: made whole or not at all, looked at, changed, taken away."""

import contextlib
from collections.abc import Mapping
from typing import Any

from docker.errors import APIError, NotFound

from helix.errors import ConflictError, InvalidError, UnavailableError
from infra.toolchain.plugins.docker import bodies
from infra.toolchain.plugins.docker.inputs import Container
from infra.toolchain.plugins.docker.server import HTTP_CONFLICT, Server
from infra.toolchain.plugins.docker.work import Work, becomes

MAKING = ".making"  # after the name until all is well: an interrupted create is known by it
ATTACH_S_MAX = 1200.0
GONE_S_MAX = 30.0
TAIL_LINES = 20
TAIL_CHARS_MAX = 4000
LOG_LINES_MAX = 10_000
HEALTHY = "healthy"

Outputs = dict[str, object]


def create(server: Server, wanted: Container, work: Work) -> tuple[str, Outputs]:
    """It is there under its name, and it is as it should be; else nothing is left of it."""
    making = f"{wanted.name}{MAKING}"
    _clear_way(server, wanted.name, making, work)
    with server.plainly(f"container `{wanted.name}`"):
        identity = _made(server, wanted, making, work)
        try:
            outputs = _begin(server, identity, wanted, work)
            with contextlib.suppress(NotFound):  # it went away by itself at its end
                server.api.rename(identity, wanted.name)
        except BaseException:
            _remove(server, identity)
            raise
    return identity, outputs


def _clear_way(server: Server, name: str, making: str, work: Work) -> None:
    if _inspect(server, name):
        raise ConflictError(
            f"there is a container `{name}` on `{server.host}` already; remove it with `docker rm "
            f"--force {name}`, or give this one another name"
        )
    half = _inspect(server, making)
    if half is None:
        return
    if half["Config"]["Labels"].get(bodies.URN) != work.urn:
        raise ConflictError(
            f"`{making}` on `{server.host}` is being made by somebody else; wait for that, or "
            f"remove it with `docker rm --force {making}`"
        )
    work.report("clearing away an interrupted create")
    with server.plainly(f"container `{making}`"):
        _remove(server, half["Id"])


def _made(server: Server, wanted: Container, making: str, work: Work) -> str:
    work.report("creating")
    try:
        body = bodies.container(wanted, work.urn)
        return str(server.api.create_container_from_config(body, making)["Id"])
    except NotFound as error:
        raise InvalidError(
            f"container `{wanted.name}`: {error.explanation} on `{server.host}`; declare its image "
            "as a RemoteImage, or load it there"
        ) from error


def _begin(server: Server, identity: str, wanted: Container, work: Work) -> Outputs:
    if wanted.uploads:
        server.api.put_archive(identity, "/", bodies.archive(wanted.uploads))
    if wanted.start:
        work.report("starting")
        server.api.start(identity)
        _settle(server, identity, wanted, work)
    logs = _end(server, identity, wanted, work) if wanted.attach and wanted.start else {}
    found = _inspect(server, identity)
    told = bodies.outputs(found) if found else {}
    if wanted.attach and wanted.rm:
        _remove(server, identity)
    return {**told, **logs}


def _settle(server: Server, identity: str, wanted: Container, work: Work) -> None:
    """It is healthy if that is waited for, and it runs if it is meant to run on."""
    if wanted.wait:
        if not becomes(
            lambda: _healthy(server, identity, wanted, work),
            name=wanted.name,
            work=work,
            s_max=wanted.wait_timeout,
        ):
            raise _failure(server, identity, wanted, f"not healthy within {wanted.wait_timeout} s")
    elif bodies.lasting(wanted) and not wanted.rm:
        state = server.api.inspect_container(identity)["State"]
        if not state["Running"]:
            raise _failure(server, identity, wanted, f"it ended with {state['ExitCode']}")


def _healthy(server: Server, identity: str, wanted: Container, work: Work) -> bool:
    state = server.api.inspect_container(identity)["State"]
    if not state["Running"]:
        raise _failure(server, identity, wanted, f"it ended with {state['ExitCode']}")
    if "Health" not in state:
        raise InvalidError(
            f"container `{wanted.name}` has `wait` and neither it nor its image has a healthcheck; "
            "give it one, or leave `wait` out"
        )
    status = str(state["Health"]["Status"])
    work.report(f"waiting: {status}")
    return status == HEALTHY


def _failure(server: Server, identity: str, wanted: Container, what: str) -> UnavailableError:
    said = [f"container `{wanted.name}` on `{server.host}`: {what}"]
    if log := _logs(server, identity, TAIL_LINES):
        said.append(f"its last lines:\n{log[-TAIL_CHARS_MAX:]}")
    health = server.api.inspect_container(identity)["State"].get("Health") or {}
    if checks := health.get("Log"):
        output = str(checks[-1]["Output"]).strip()
        said.append(f"its healthcheck said ({checks[-1]['ExitCode']}):\n{output[-TAIL_CHARS_MAX:]}")
    said.append("it was removed; correct it and run `pulumi up` again")
    return UnavailableError("docker", "\n".join(said))


def _logs(server: Server, identity: str, lines_max: int) -> str:
    try:
        told = server.api.logs(identity, tail=lines_max)
    except APIError:  # its log driver cannot be read
        return ""
    return bytes(told).decode(errors="replace").strip()


def _end(server: Server, identity: str, wanted: Container, work: Work) -> Outputs:
    """It has run to its end."""
    work.report("running to its end")

    def ended() -> bool:
        return not server.api.inspect_container(identity)["State"]["Running"]

    if not becomes(ended, name=wanted.name, work=work, s_max=ATTACH_S_MAX):
        raise _failure(server, identity, wanted, f"it has not ended within {ATTACH_S_MAX:g} s")
    return {"containerLogs": _logs(server, identity, LOG_LINES_MAX)} if wanted.logs else {}


def update(server: Server, identity: str, wanted: Container, work: Work) -> Outputs:
    """Its limits are as given, and it runs if it is meant to."""
    with server.plainly(f"container `{wanted.name}`"):
        server.api.update_container(identity, **bodies.limits(wanted))
        found = server.api.inspect_container(identity)
        if bodies.lasting(wanted) and not found["State"]["Running"]:
            work.report("starting again")
            server.api.start(identity)
            _settle(server, identity, wanted, work)
        return bodies.outputs(server.api.inspect_container(identity))


def read(server: Server, identity: str, wanted: Container) -> tuple[Outputs, Outputs] | None:
    """What it tells, and which inputs are not as given; None when it is gone."""
    found = _inspect(server, identity)
    if found is None:
        return ({}, {}) if wanted.rm and wanted.attach else None  # it went away as it should
    return bodies.outputs(found), bodies.drift(wanted, found, _image(server, wanted.image))


def _image(server: Server, name: str) -> str:
    with server.plainly(f"image `{name}`"):
        try:
            return str(server.api.inspect_image(name)["Id"])
        except NotFound:
            return ""


def delete(server: Server, identity: str, wanted: Container, work: Work) -> None:
    """It runs no more and is gone; its named volumes stay."""
    with server.plainly(f"container `{wanted.name}`"):
        if wanted.destroy_grace_seconds:
            work.report("stopping")
            with contextlib.suppress(NotFound):
                server.api.stop(identity, timeout=wanted.destroy_grace_seconds)
        _remove(server, identity)
        if not becomes(
            lambda: _inspect(server, identity) is None,
            name=wanted.name,
            work=work,
            s_max=GONE_S_MAX,
        ):
            raise UnavailableError(
                "docker",
                f"container `{wanted.name}` on `{server.host}` is still being removed; look at the "
                "engine's log there, then run `pulumi destroy` again",
            )


def _remove(server: Server, identity: str) -> None:
    try:
        server.api.remove_container(identity, v=True, force=True)
    except NotFound:
        pass
    except APIError as error:
        if error.status_code != HTTP_CONFLICT:  # else it is being removed already
            raise


def _inspect(server: Server, identity: str) -> Mapping[str, Any] | None:
    with server.plainly(f"container `{identity}`"):
        try:
            return server.api.inspect_container(identity)
        except NotFound:
            return None
