"""Objects behind the S3 interface: the buckets and how long objects stay."""

from collections.abc import Iterable

import minio
import urllib3
import urllib3.exceptions
from minio.commonconfig import ENABLED, Filter
from minio.error import MinioException
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from helix.adapters import trust
from helix.errors import UnavailableError
from helix.settings import Minio
from helix.topology.model import Bucket

SERVICE = "minio"
CONNECT_S_MAX = 5
RULE = "expire"


def client(settings: Minio) -> minio.Minio:
    """The store as its root user reaches it."""
    return minio.Minio(
        f"{settings.host}:{settings.port}",
        access_key=settings.user,
        secret_key=settings.password.reveal(),
        secure=bool(settings.ca),
        # The client's own pool retries for minutes; who waits here has a bound of its own.
        http_client=urllib3.PoolManager(
            timeout=CONNECT_S_MAX,
            retries=False,
            ssl_context=trust.context(settings.ca) if settings.ca else None,
        ),
    )


def ensure(settings: Minio, buckets: Iterable[Bucket]) -> list[str]:
    """What was changed so that every bucket is there and its objects expire as they should."""
    store = client(settings)
    try:
        return [change for bucket in buckets for change in _ensure(store, bucket)]
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(
            SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
        ) from error


def _ensure(client: minio.Minio, bucket: Bucket) -> list[str]:
    changes: list[str] = []
    if not client.bucket_exists(bucket.name):
        client.make_bucket(bucket.name)
        changes.append(f"created {bucket.name}")
    if bucket.expire_days != _expire_days(client, bucket.name):
        _set_expiry(client, bucket)
        changes.append(f"objects of {bucket.name} expire after {bucket.expire_days} days")
    return changes


def _expire_days(client: minio.Minio, name: str) -> int:
    found = client.get_bucket_lifecycle(name)
    for rule in found.rules if found else ():
        if rule.expiration is not None and rule.expiration.days:
            return rule.expiration.days
    return 0


def _set_expiry(client: minio.Minio, bucket: Bucket) -> None:
    if not bucket.expire_days:
        client.delete_bucket_lifecycle(bucket.name)
        return
    expiration = Expiration(days=bucket.expire_days)
    rule = Rule(ENABLED, rule_filter=Filter(prefix=""), rule_id=RULE, expiration=expiration)
    client.set_bucket_lifecycle(bucket.name, LifecycleConfig([rule]))
