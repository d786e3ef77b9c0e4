"""ClickHouse: its real engine behind its own HTTP interface, served by `infra.engines`."""

import msgspec

from infra.launch import Launch, Site, check, secret
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
    address, size = site.address(NAME, "http"), site.size(service)
    config = {
        "host": address.host,
        "port": address.port,
        "data": str(site.data(service)),
        "memory_mib_max": size.memory_mib,
        "threads": max(REQUESTS_MIN, int(size.cores)),
        "users": [
            {"name": USER, "password": PASSWORD, "role": "admin"},
            {"name": READER, "password": READER_PASSWORD, "role": "reader"},
        ],
    }
    path = str(site.conf(service) / "clickhouse.json")
    return {path: msgspec.json.format(msgspec.json.encode(config)).decode() + "\n"}


def process(site: Site) -> Launch:
    """One Python process holding the engine."""
    service = site.topology.service(NAME)
    config = str(site.conf(service) / "clickhouse.json")
    return Launch(
        name=NAME,
        argv=(site.python, "-m", "infra.engines.clickhouse", config),
        check=check(site, service),
        cwd=str(site.root),
        files=files(site),
        folders=(str(site.data(service)),),
        digest=site.digest(*engines.CODE),
        stop_s_max=30,
    )
