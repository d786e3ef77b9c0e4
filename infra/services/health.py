"""Commands that ask a service from inside its container, with no more than its image has."""

from infra.launch import Address

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
    return ("bash", "-c", f"{ask} && grep -q '{expect}' <&3")


def inside(listen: Address) -> str:
    """Where the container itself reaches what it listens on."""
    return LOOPBACK if listen.host == ANYWHERE else listen.host
