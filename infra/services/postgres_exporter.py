"""Figures of PostgreSQL."""

from infra.launch import Launch, Site, check
from infra.services import health, postgres

NAME = "postgres-exporter"


def files(site: Site) -> dict[str, str]:
    """None: it is configured by its environment."""
    del site
    return {}


def process(site: Site) -> Launch:
    """One process; the password reaches it by the environment."""
    service = site.topology.service(NAME)
    data, listen = str(site.data(service)), site.listen(NAME, "metrics")
    tls, sql = site.tls(service), site.address("postgres", "sql")
    mode = f"sslmode=verify-full&sslrootcert={tls.authority}" if tls else "sslmode=disable"
    credentials = f"{postgres.USER}:{postgres.PASSWORD}"
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/prometheus-postgres-exporter")),
            f"--web.listen-address={listen}",
            "--disable-settings-metrics",  # hundreds of figures that never change
        ),
        check=check(site, service),
        cwd=data,
        env={
            "DATA_SOURCE_NAME": f"postgresql://{credentials}@{sql}/{postgres.DATABASE}?{mode}",
            "GOMEMLIMIT": f"{site.size(service).memory_mib}MiB",
        },
        folders=(data,),
        health=health.fetched(listen, "/") if tls else (),
    )
