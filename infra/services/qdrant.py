"""Qdrant: its official server, or its real engine behind the same REST interface."""

import msgspec

from infra.launch import Launch, Site, check, secret
from infra.services import engines, health

NAME = "qdrant"
PASSWORD = secret("qdrant")
INDEX_POINTS_MIN = 10_000  # below this a plain scan is as fast as the graph, and needs no building
DIMENSIONS_PER_KB = 256  # of a vector of four-byte floats: the server counts its threshold in KiB
PROGRAM = "/qdrant/qdrant"  # in the official image


def files(site: Site) -> dict[str, str]:
    """The engine's configuration."""
    own: dict[str, object] = {"api_key": PASSWORD, "index_points_min": INDEX_POINTS_MIN}
    return engines.files(site, site.topology.service(NAME), own)


def process(site: Site) -> Launch:
    """One process."""
    return engines.process(site, site.topology.service(NAME), files(site))


def container(site: Site) -> Launch:
    """The official server: HTTPS alone, one key."""
    service = site.topology.service(NAME)
    conf, data, tls = site.conf(service), site.data(service), site.tls(service)
    if tls is None:
        return process(site)
    listen, config = site.listen(NAME, "http"), str(conf / "production.yaml")
    settings = {
        "telemetry_disabled": True,
        "storage": {
            "storage_path": str(data / "storage"),
            "snapshots_path": str(data / "snapshots"),
            "optimizers": {"indexing_threshold_kb": _threshold_kb(site)},
        },
        "service": {
            "host": listen.host,
            "http_port": listen.port,
            "grpc_port": None,
            "enable_cors": False,
            "enable_static_content": False,
            "enable_tls": True,
            "api_key": PASSWORD,
        },
        "cluster": {"enabled": False},
        "tls": {"cert": tls.certificate, "key": tls.key},
    }
    return Launch(
        name=NAME,
        argv=(PROGRAM, "--config-path", config),
        check=check(site, service),
        cwd=str(data),
        # Beside the program the image keeps its own marks and settings, which are not ours.
        env={"QDRANT_INIT_FILE_PATH": str(data / "initialised")},
        files={config: msgspec.json.format(msgspec.json.encode(settings)).decode() + "\n"},
        folders=(str(data),),
        health=health.sealed(listen, "/readyz", "ready", tls.authority),
        nofile=65_536,
        stop_s_max=30,
    )


def _threshold_kb(site: Site) -> int:
    """The size of `INDEX_POINTS_MIN` vectors of the catalogue."""
    dimensions = max(collection.dimensions for collection in site.topology.collections)
    return INDEX_POINTS_MIN * dimensions // DIMENSIONS_PER_KB
