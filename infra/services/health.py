"""Commands that ask a service from inside its container, with no more than its image has."""

import shlex

from infra.launch import Address, Site

ANYWHERE = "0.0.0.0"  # noqa: S104 - recognised, not bound
LOOPBACK = "127.0.0.1"


def shell(script: str) -> tuple[str, ...]:
    """A script for the plain shell every image has."""
    return ("sh", "-c", script)


def page(listen: Address, path: str, expect: str) -> tuple[str, ...]:
    """A page over plain HTTP that holds `expect`, asked by bash alone."""
    host = inside(listen)
    request = f"GET {path} HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n"
    ask = f"exec 3<>/dev/tcp/{host}/{listen.port} && printf '{request}' >&3"
    # It counts rather than stops at the first: a server that cannot finish its answer complains.
    return ("bash", "-c", f"{ask} && grep -c '{expect}' <&3")


def fetched(listen: Address, path: str) -> tuple[str, ...]:
    """A page over plain HTTP that is answered well, asked by wget: BusyBox has it as well."""
    return ("wget", "-q", "-O", "/dev/null", f"http://{inside(listen)}:{listen.port}{path}")


def curl(listen: Address, path: str, authority: str) -> tuple[str, ...]:
    """A page over TLS that is answered well, asked by curl."""
    url = f"https://{inside(listen)}:{listen.port}{path}"
    return ("curl", "--fail", "--silent", "--output", "/dev/null", "--cacert", authority, url)


def sealed(listen: Address, path: str, expect: str, authority: str) -> tuple[str, ...]:
    """A page over TLS that holds `expect`, asked by the plain shell and openssl."""
    at = f"{inside(listen)}:{listen.port}"
    ask = f"printf 'GET {path} HTTP/1.0\\r\\nHost: {at}\\r\\n\\r\\n'"
    client = f"openssl s_client -quiet -verify_return_error -CAfile {authority} -connect {at}"
    return shell(f"{ask} | {client} 2>/dev/null | grep -q '{expect}'")


def program(
    site: Site, listen: Address, path: str, expect: str, *, authority: str = ""
) -> tuple[str, ...]:
    """A page that holds `expect`, asked by the project's own probe; over TLS with an authority."""
    at = f"{inside(listen)}:{listen.port}"
    ask = [site.python, "-m", "helix.adapters.probes", "http", at, path, expect]
    trusting = ["--ca", authority] if authority else []
    return shell(f"cd {site.root} && exec {shlex.join([*ask, *trusting])}")


def inside(listen: Address) -> str:
    """Where the container itself reaches what it listens on."""
    return LOOPBACK if listen.host == ANYWHERE else listen.host
