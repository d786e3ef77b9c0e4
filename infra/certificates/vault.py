"""Passwords and certificates of a stack behind one lookup."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.certificates.authority import PREFIX, Authority, Now
from infra.provider.secrets import vault

KEYSTORE = "keystore"


def authority(
    home: Path, *, now: Now, known: Mapping[str, Sequence[str]] | None = None
) -> Authority:
    """The stack's authority; the password of its keystores is the stack's secret `keystore`."""
    return Authority(home, now=now, password=lambda: vault(home)(KEYSTORE), known=known)


def stack_vault(
    home: Path, known: Mapping[str, Sequence[str]], *, now: Now
) -> Callable[[str], str]:
    """The lookup of every secret: `tls.*` from the authority, the others from the master."""
    passwords = vault(home)
    certificates = authority(home, now=now, known=known)

    def lookup(name: str) -> str:
        return certificates.lookup(name) if name.startswith(PREFIX) else passwords(name)

    return lookup
