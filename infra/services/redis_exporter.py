"""Figures of Redis."""

from infra.launch import Launch, Site, check
from infra.services import health, redis

NAME = "redis-exporter"


def files(site: Site) -> dict[str, str]:
    """None: it is configured by its environment."""
    del site
    return {}


def process(site: Site) -> Launch:
    """One process; the password reaches it by the environment."""
    service = site.topology.service(NAME)
    data, listen = str(site.data(service)), site.listen(NAME, "metrics")
    tls, address = site.tls(service), site.address("redis", "redis")
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/prometheus-redis-exporter")),
            f"-web.listen-address={listen}",
        ),
        check=check(site, service),
        cwd=data,
        env={
            "REDIS_ADDR": f"{'rediss' if tls else 'redis'}://{address}",
            **({"REDIS_EXPORTER_TLS_CA_CERT_FILE": tls.authority} if tls else {}),
            "REDIS_PASSWORD": redis.PASSWORD,
            "GOMEMLIMIT": f"{site.size(service).memory_mib}MiB",
        },
        folders=(data,),
        health=health.fetched(listen, "/") if tls else (),
    )
