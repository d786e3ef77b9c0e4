"""ClickHouse: its real engine behind its own HTTP interface."""

from infra.launch import Launch, Site, secret
from infra.services import engines

NAME = "clickhouse"
USER = "helix"
PASSWORD = secret("clickhouse")
DATABASE = "helix"
READER = "reader"  # runs the analytics a caller wrote: may only read
READER_PASSWORD = secret("clickhouse-reader")
REQUESTS_MIN = 4  # at a time: one long query must not make the others wait


def files(site: Site) -> dict[str, str]:
    """The engine's configuration."""
    service = site.topology.service(NAME)
    size = site.size(service)
    own: dict[str, object] = {
        "memory_mib_max": size.memory_mib,
        "threads": max(REQUESTS_MIN, int(size.cores)),
        "users": [
            {"name": USER, "password": PASSWORD, "role": "admin"},
            {"name": READER, "password": READER_PASSWORD, "role": "reader"},
        ],
    }
    return engines.files(site, service, own)


def process(site: Site) -> Launch:
    """One process."""
    return engines.process(site, site.topology.service(NAME), files(site))
