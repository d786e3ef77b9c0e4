"""Buckets as the catalogue has them against those of the object store."""

import json
from collections.abc import Iterable

import minio
import urllib3
import urllib3.exceptions
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import Rule

from helix.adapters import trust
from helix.adapters.minio import SERVICE
from helix.adapters.minio import client as connected
from helix.errors import UnavailableError
from helix.settings import Settings
from helix.topology.catalog import CATALOG
from helix.topology.model import Bucket
from infra.drift.model import Cure, Cures, Drift, Kind, compared

PREFIX = "helixagent-"  # of every bucket of ours
EXPIRY, OTHERS, ANONYMOUS, VERSIONS = "expiry", "other rules", "anonymous access", "versioning"
KEPT, NONE, OFF, ON = "never", "none", "off", "on"
CURES = Cures(
    missing=Cure.BOOTSTRAP,
    differing=Cure.DECIDE,
    parts={EXPIRY: Cure.BOOTSTRAP},
)


def look(settings: Settings) -> list[Drift]:
    """What differs; buckets of others are left alone."""
    client = connected(settings.minio)
    try:
        names = [bucket.name for bucket in client.list_buckets()]
        live = {name: _live(client, name) for name in names if name.startswith(PREFIX)}
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(
            SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
        ) from error
    return compared(Kind.BUCKET_POLICY, declared(CATALOG.buckets), live, CURES)


def declared(buckets: Iterable[Bucket]) -> dict[str, dict[str, str]]:
    """What bootstrap makes: private buckets without versions."""
    return {
        bucket.name: {
            EXPIRY: _after(bucket.expire_days),
            OTHERS: NONE,
            ANONYMOUS: NONE,
            VERSIONS: OFF,
        }
        for bucket in buckets
    }


def described(rules: Iterable[Rule], policy: str, versioning: str | None) -> dict[str, str]:
    """What the store says of a bucket, by part; versions that were suspended are kept no more."""
    known = list(rules)
    ours = next((rule for rule in known if _is_ours(rule)), None)
    days = ours.expiration.days if ours and ours.expiration else 0
    return {
        EXPIRY: _after(days or 0),
        OTHERS: ", ".join(f"`{rule.rule_id}`" for rule in known if rule is not ours) or NONE,
        ANONYMOUS: json.dumps(json.loads(policy), sort_keys=True) if policy else NONE,
        VERSIONS: ON if versioning == "Enabled" else OFF,
    }


def _is_ours(rule: Rule) -> bool:
    """Whether it lets every object of its bucket expire."""
    everything = rule.rule_filter is None or not rule.rule_filter.prefix
    return rule.status == "Enabled" and everything and bool(rule.expiration)


def _after(days: int) -> str:
    return f"after {days} days" if days else KEPT


def _live(client: minio.Minio, name: str) -> dict[str, str]:
    lifecycle = client.get_bucket_lifecycle(name)
    versioning = client.get_bucket_versioning(name).status
    return described(lifecycle.rules if lifecycle else (), _policy(client, name), versioning)


def _policy(client: minio.Minio, name: str) -> str:
    try:
        return client.get_bucket_policy(name)
    except S3Error as error:
        if error.code == "NoSuchBucketPolicy":
            return ""
        raise
