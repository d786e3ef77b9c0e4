"""Qdrant: its real engine behind its own REST interface."""

from infra.launch import Launch, Site, secret
from infra.services import engines

NAME = "qdrant"
PASSWORD = secret("qdrant")
INDEX_POINTS_MIN = 10_000  # below this a plain scan is as fast as the graph, and needs no building


def files(site: Site) -> dict[str, str]:
    """The engine's configuration."""
    own: dict[str, object] = {"api_key": PASSWORD, "index_points_min": INDEX_POINTS_MIN}
    return engines.files(site, site.topology.service(NAME), own)


def process(site: Site) -> Launch:
    """One process."""
    return engines.process(site, site.topology.service(NAME), files(site))
