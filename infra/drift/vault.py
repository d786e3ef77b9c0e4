"""The secrets of a stack as they stand: nothing is issued, renewed or written by a look."""

from collections.abc import Callable, Sequence
from pathlib import Path

from helix.errors import MissingError
from infra.certificates.authority import PREFIX, Authority, Leaf, Trust
from infra.certificates.issuing import Pair
from infra.certificates.vault import KEYSTORE
from infra.composition import now
from infra.provider.secrets import exists, vault

Known = dict[str, tuple[str, ...]]


class Standing(Authority):
    """The authority of a stack with its pen taken away: what is due stays due."""

    def _write_trust(self, trust: Trust) -> None:
        del trust
        raise MissingError("the stack has no authority yet: run `make up`")

    def _renew(self, identity: str, hosts: Sequence[str], trust: Trust) -> Leaf:
        del hosts, trust
        return self._standing(identity)

    def _store(self, identity: str, pair: Pair, trust: Trust) -> Leaf:
        del pair, trust
        return self._standing(identity)

    def _standing(self, identity: str) -> Leaf:
        leaf = self._read(identity)
        if leaf is None:
            raise MissingError(f"`{identity}` has no certificate yet: run `make up`")
        return leaf


def standing(home: Path, known: Known) -> tuple[Callable[[str], str], Standing]:
    """The lookup of every secret, and the authority; `MissingError` before the first `up`."""
    if not exists(home):
        raise MissingError(f"stack `{home.name}` has never been up: run `make up`")
    passwords = vault(home)
    authority = Standing(home, now=now, password=lambda: passwords(KEYSTORE), known=known)

    def lookup(name: str) -> str:
        return authority.lookup(name) if name.startswith(PREFIX) else passwords(name)

    return lookup, authority
