"""Figures of Redis."""

from infra.launch import Launch, Site, check
from infra.services import redis

NAME = "redis-exporter"


def files(site: Site) -> dict[str, str]:
    """None: it is configured by its environment."""
    del site
    return {}


def process(site: Site) -> Launch:
    """One process; the password reaches it by the environment."""
    service = site.topology.service(NAME)
    data = str(site.data(service))
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/prometheus-redis-exporter")),
            f"-web.listen-address={site.address(NAME, 'metrics')}",
        ),
        check=check(site, service),
        cwd=data,
        env={
            "REDIS_ADDR": f"redis://{site.address('redis', 'redis')}",
            "REDIS_PASSWORD": redis.PASSWORD,
            "GOMEMLIMIT": f"{site.size(service).memory_mib}MiB",
        },
        folders=(data,),
    )
