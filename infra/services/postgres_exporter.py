"""Figures of PostgreSQL."""

from infra.launch import Launch, Site, check
from infra.services import postgres

NAME = "postgres-exporter"


def files(site: Site) -> dict[str, str]:
    """None: it is configured by its environment."""
    del site
    return {}


def process(site: Site) -> Launch:
    """One process; the password reaches it by the environment."""
    service = site.topology.service(NAME)
    data, sql = str(site.data(service)), site.address("postgres", "sql")
    credentials = f"{postgres.USER}:{postgres.PASSWORD}"
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/prometheus-postgres-exporter")),
            f"--web.listen-address={site.address(NAME, 'metrics')}",
            "--disable-settings-metrics",  # hundreds of figures that never change
        ),
        check=check(site, service),
        cwd=data,
        env={
            "DATA_SOURCE_NAME": (
                f"postgresql://{credentials}@{sql}/{postgres.DATABASE}?sslmode=disable"
            ),
            "GOMEMLIMIT": f"{site.size(service).memory_mib}MiB",
        },
        folders=(data,),
    )
