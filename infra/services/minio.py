"""MinIO: used through the S3 interface alone, so that another S3 server can take its place."""

from infra.launch import Launch, Site, check
from infra.services import s3

NAME = "minio"


def files(site: Site) -> dict[str, str]:
    """None: it is configured by its environment."""
    del site
    return {}


def process(site: Site) -> Launch:
    """One process, one folder."""
    service = site.topology.service(NAME)
    data = site.data(service)
    certificates = str(site.conf(service) / "certificates")
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/minio")),
            "server",
            str(data),
            f"--address={site.address(NAME, 's3')}",
            f"--certs-dir={certificates}",
            "--quiet",
        ),
        check=check(site, service),
        cwd=str(data),
        env={
            "MINIO_ROOT_USER": s3.USER,
            "MINIO_ROOT_PASSWORD": s3.PASSWORD,
            "MINIO_REGION": s3.REGION,
            "MINIO_PROMETHEUS_AUTH_TYPE": "public",  # figures only, and only on this address
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
            "GOMEMLIMIT": f"{site.size(service).memory_mib}MiB",
        },
        folders=(str(data), certificates),
        nofile=8192,
    )
