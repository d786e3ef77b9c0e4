"""Redis: a cache and counters of limits, so the oldest keys make room for new ones."""

from infra.launch import Launch, Site, check, lines, secret

NAME = "redis"
PASSWORD = secret("redis")


def _config(site: Site) -> str:
    return str(site.conf(site.topology.service(NAME)) / "redis.conf")


def files(site: Site) -> dict[str, str]:
    """`redis.conf`: the password lives here and in no argument."""
    service = site.topology.service(NAME)
    address = site.address(NAME, "redis")
    settings = {
        "bind": address.host,
        "port": address.port,
        "protected-mode": "yes",
        "requirepass": PASSWORD,
        "dir": site.data(service),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory": f"{site.size(service).cache_mib}mb",
        "maxmemory-policy": "allkeys-lru",
    }
    return {_config(site): lines(settings, between=" ")}


def process(site: Site) -> Launch:
    """One process."""
    service = site.topology.service(NAME)
    data = str(site.data(service))
    return Launch(
        name=NAME,
        argv=(str(site.part(NAME, "bin/redis-server")), _config(site)),
        check=check(site, service, password=PASSWORD),
        cwd=data,
        files=files(site),
        folders=(data,),
    )
