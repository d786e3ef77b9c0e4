"""What may be loaded, and how much: asked before the first visitor comes."""

import math
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from helix.client import calls
from helix.errors import InvalidError
from loadtest.arrivals import S_PER_MINUTE, Plan

KEY_RATIO_MAX = 0.9  # of a key's requests per minute; more would measure the rate limit
ASK_S_MAX = 10.0


def target(env: Mapping[str, str], *, allow_remote: bool) -> tuple[str, list[str]]:
    """Where to and with which keys; `InvalidError` says what is missing."""
    for name in ("HELIX_URL", "HELIX_API_KEY"):
        if not env.get(name):
            raise InvalidError(f'`{name}` is not set: run `eval "$(make -s env)"` first')
    url = env["HELIX_URL"].rstrip("/")
    if not allow_remote and not is_loopback(url):
        raise InvalidError(f"`{url}` is another machine: give `--allow-remote` if it may be loaded")
    return url, [key.strip() for key in env["HELIX_API_KEY"].split(",") if key.strip()]


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def affordable(plan: Plan, *, url: str, api_keys: Sequence[str], ca: str = "") -> None:
    """Refuse a plan that would run into the rate limit rather than into the platform."""
    limits = [_per_min(url, api_key, ca) for api_key in api_keys]
    if plan.rate * S_PER_MINUTE > KEY_RATIO_MAX * min(limits) * len(limits):
        raise InvalidError(
            f"`--rate {plan.rate:g}` is too near the limit of {min(limits):.0f} requests a minute"
            " and key: put more keys into `HELIX_API_KEY`, separated by commas"
        )


def _per_min(url: str, api_key: str, ca: str) -> float:
    """What the platform allows the key; one that says nothing sets no limit."""
    call = calls.health()
    headers = {"Authorization": f"Bearer {api_key}"}
    try:
        answer = httpx.request(
            call.method,
            f"{url}{call.path}",
            headers=headers,
            timeout=ASK_S_MAX,
            verify=calls.trusted(ca),
        )
    except httpx.TransportError as error:
        raise calls.unreachable(url, error) from error
    call.read(answer)
    return float(answer.headers.get("x-ratelimit-limit", math.inf))
