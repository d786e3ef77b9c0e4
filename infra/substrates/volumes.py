"""The volumes a Docker stack keeps: `destroy` leaves them, `purge` deletes them."""

from docker import DockerClient
from docker.errors import DockerException
from docker.tls import TLSConfig

from helix.errors import UnavailableError
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
        client = DockerClient(base_url=host.engine, tls=_tls(host))
        found = client.volumes.list(filters={"label": f"{LABEL}={stack}"})
        for volume in found:
            volume.remove()
    except DockerException as error:
        raise UnavailableError(
            server, f"the engine of `{server}` at {host.engine}: {error}: start it and try again"
        ) from error
    return [str(volume.name) for volume in found]


def _tls(host: Host) -> TLSConfig | bool:
    if not host.certificates:
        return False
    folder = host.certificates
    return TLSConfig(
        client_cert=(f"{folder}/cert.pem", f"{folder}/key.pem"), ca_cert=f"{folder}/ca.pem"
    )
