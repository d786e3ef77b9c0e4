"""The engine of a server, spoken to directly: for what Pulumi does not do."""

from docker import DockerClient
from docker.tls import TLSConfig

from infra.substrates.wanted import Host

ANSWER_S_MAX = 30


def client(host: Host) -> DockerClient:
    """Docker's own client of that engine; whoever asks for it closes it."""
    folder = host.certificates
    pair = (f"{folder}/cert.pem", f"{folder}/key.pem")
    return DockerClient(
        base_url=host.engine,
        timeout=ANSWER_S_MAX,
        tls=TLSConfig(client_cert=pair, ca_cert=f"{folder}/ca.pem") if folder else False,
        use_ssh_client=host.engine.startswith("ssh://"),
    )
