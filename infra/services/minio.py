"""MinIO: used through the S3 interface alone, so that another S3 server can take its place."""

from infra.launch import Launch, Site, check, secret
from infra.services import health, s3

NAME = "minio"


def files(site: Site) -> dict[str, str]:
    """What it is asked for encrypted; the rest is in its environment."""
    tls = site.tls(site.topology.service(NAME))
    if tls is None:
        return {}
    own = secret(f"tls.{tls.name}.certificate")
    return {
        f"{_certificates(site)}/public.crt": own,
        f"{_certificates(site)}/private.key": secret(f"tls.{tls.name}.key"),
        f"{_certificates(site)}/CAs/ca.pem": secret("tls.ca"),
    }


def _certificates(site: Site) -> str:
    return str(site.conf(site.topology.service(NAME)) / "certificates")


def process(site: Site) -> Launch:
    """One process, one folder."""
    service = site.topology.service(NAME)
    data, tls = site.data(service), site.tls(service)
    certificates, listen = _certificates(site), site.listen(NAME, "s3")
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/minio")),
            "server",
            str(data),
            f"--address={listen}",
            f"--certs-dir={certificates}",
            "--quiet",
        ),
        check=check(site, service),
        cwd=str(data),
        env={
            "MINIO_ROOT_USER": s3.USER,
            "MINIO_ROOT_PASSWORD": s3.PASSWORD,
            "MINIO_REGION": s3.REGION,
            "MINIO_PROMETHEUS_AUTH_TYPE": "jwt",
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
            "GOMEMLIMIT": f"{site.size(service).memory_mib}MiB",
        },
        files=files(site),
        folders=(str(data),) if tls else (str(data), certificates),
        health=health.curl(listen, service.probe.path, tls.authority) if tls else (),
        nofile=8192,
    )
