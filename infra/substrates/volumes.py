"""The volumes a Docker stack keeps: `destroy` leaves them, `purge` deletes them."""

import contextlib

from docker.errors import DockerException
from requests.exceptions import RequestException

from helix.errors import UnavailableError
from infra.substrates.engine import client
from infra.substrates.wanted import Host, Wanted

LABEL = "helix.stack"  # on every container and volume: whose they are


def delete(settings: Wanted, stack: str) -> list[str]:
    """Delete the stack's volumes on every server; their names. `UnavailableError` names a server.

    Only what carries the stack's label, and only what no container uses.
    """
    return [
        f"{server}: {name}"
        for server, host in settings.hosts.items()
        for name in _delete(server, host, stack)
    ]


def _delete(server: str, host: Host, stack: str) -> list[str]:
    try:
        with contextlib.closing(client(host)) as engine:
            found = engine.volumes.list(filters={"label": f"{LABEL}={stack}"})
            for volume in found:
                volume.remove()
            return [str(volume.name) for volume in found]
    except (DockerException, RequestException) as error:
        raise UnavailableError(
            server, f"the engine of `{server}` at {host.engine}: {error}: start it and try again"
        ) from error
