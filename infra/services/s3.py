"""Object storage as its clients see it: endpoint, credentials, and buckets the catalogue knows."""

from infra.launch import Site, secret

USER = "helix"
PASSWORD = secret("minio")
SCRAPER_TOKEN = secret(f"jwt.minio.{USER}.prometheus")  # as `mc admin prometheus generate` makes it
REGION = "us-east-1"  # MinIO's own default: every client must name the same one


def endpoint(site: Site) -> str:
    """Where the S3 interface answers."""
    scheme = "https" if site.tls(site.topology.service("minio")) else "http"
    return f"{scheme}://{site.address('minio', 's3')}"


def bucket(site: Site, name: str, path: str) -> str:
    """The URL of a path in a bucket; KeyError when the catalogue has no such bucket."""
    known = {bucket.name for bucket in site.topology.buckets}
    if name not in known:
        raise KeyError(name)
    return f"s3://{name}/{path}"
