"""Redis: a cache and counters of limits, so the oldest keys make room for new ones."""

from infra.launch import Launch, Site, Tls, check, lines, secret
from infra.services import health

NAME = "redis"
PASSWORD = secret("redis")


def _config(site: Site) -> str:
    return str(site.conf(site.topology.service(NAME)) / "redis.conf")


def files(site: Site) -> dict[str, str]:
    """`redis.conf`: the password lives here and in no argument."""
    service = site.topology.service(NAME)
    address, tls = site.listen(NAME, "redis"), site.tls(service)
    settings: dict[str, object] = {
        "bind": address.host,
        **(_encrypted(address.port, tls) if tls else {"port": address.port}),
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


def _encrypted(port: int, tls: Tls) -> dict[str, object]:
    return {
        "port": 0,
        "tls-port": port,
        "tls-cert-file": tls.certificate,
        "tls-key-file": tls.key,
        "tls-ca-cert-file": tls.authority,
        "tls-auth-clients": "no",  # they prove themselves by the password
        "tls-protocols": '"TLSv1.2 TLSv1.3"',
    }


def _health(site: Site, tls: Tls) -> tuple[str, ...]:
    listen = site.listen(NAME, "redis")
    client = site.part(NAME, "bin/redis-cli")
    # The client takes the password from its environment: an argument would be seen by everybody.
    return health.shell(
        f"export REDISCLI_AUTH=$(sed -n 's/^requirepass //p' {_config(site)});"
        f" {client} -h {health.inside(listen)} -p {listen.port} --tls --cacert {tls.authority} ping"
        " | grep -q PONG"
    )


def process(site: Site) -> Launch:
    """One process."""
    service = site.topology.service(NAME)
    data, tls = str(site.data(service)), site.tls(service)
    return Launch(
        name=NAME,
        argv=(str(site.part(NAME, "bin/redis-server")), _config(site)),
        check=check(site, service, password=PASSWORD),
        cwd=data,
        files=files(site),
        folders=(data,),
        health=_health(site, tls) if tls else (),
    )
