"""Qdrant: its real engine behind its own REST interface, served by `infra.engines`."""

import msgspec

from infra.launch import Launch, Site, check, secret
from infra.services import engines

NAME = "qdrant"
PASSWORD = secret("qdrant")
INDEX_POINTS_MIN = 10_000  # below this a plain scan is as fast as the graph, and needs no building


def files(site: Site) -> dict[str, str]:
    """The engine's configuration."""
    service = site.topology.service(NAME)
    address = site.address(NAME, "http")
    config = {
        "host": address.host,
        "port": address.port,
        "data": str(site.data(service)),
        "api_key": PASSWORD,
        "index_points_min": INDEX_POINTS_MIN,
    }
    path = str(site.conf(service) / "qdrant.json")
    return {path: msgspec.json.format(msgspec.json.encode(config)).decode() + "\n"}


def process(site: Site) -> Launch:
    """One Python process holding the engine."""
    service = site.topology.service(NAME)
    config = str(site.conf(service) / "qdrant.json")
    return Launch(
        name=NAME,
        argv=(site.python, "-m", "infra.engines.qdrant", config),
        check=check(site, service),
        cwd=str(site.root),
        files=files(site),
        folders=(str(site.data(service)),),
        digest=site.digest(*engines.CODE),
        stop_s_max=30,
    )
