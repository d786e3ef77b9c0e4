"""The certificates of a stack: issued at first use, kept byte for byte until there is a reason."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.x509 import Certificate

from helix.errors import ConflictError, InvalidError, MissingError
from helix.topology.model import Record
from infra.certificates.issuing import (
    RENEW_DAYS,
    Pair,
    Root,
    days_left,
    fingerprint,
    hosts_of,
    is_issued_by,
    issue,
    new_root,
    parsed,
    private_key,
)
from infra.certificates.keystore import keystore
from infra.provider import layout
from infra.provider.files import make_folder, write_private

Now = Callable[[], datetime]

OPERATOR = "operator"  # who validates a stack and looks for drift
LOCAL = ("localhost", "127.0.0.1")
PREFIX = "tls."
AUTHORITY = "tls.ca"
PARTS = ("certificate", "key", "bundle", "keystore")
ROOTS_MAX = 2  # the old authority and the new one, while one takes over from the other


class Trust(Record, frozen=True):
    """Whom everybody believes, and which of them issues; two only while one takes over."""

    roots: tuple[Root, ...]
    issuer: int = 0

    @property
    def issuing(self) -> Root:
        return self.roots[self.issuer]

    @property
    def text(self) -> str:
        """Every believed authority in one PEM file."""
        return "".join(root.certificate for root in self.roots)


class Leaf(Record, frozen=True):
    """What one identity has; `made_for` tells of whom and under which password the store is."""

    pair: Pair
    keystore: str
    made_for: str


class Row(Record, frozen=True):
    """One line of the list of certificates."""

    name: str
    hosts: tuple[str, ...]
    ends: datetime
    days_left: int
    fingerprint: str


def advanced(trust: Trust, fresh: Root) -> Trust:
    """The next of the three steps by which a new authority takes over from the old one."""
    if len(trust.roots) < ROOTS_MAX:
        return Trust(roots=(*trust.roots, fresh))
    if trust.issuer == 0:
        return Trust(roots=trust.roots, issuer=1)
    return Trust(roots=trust.roots[1:])


class Authority:
    """The stack's own; `known` are the identities it may issue to, with their host names."""

    def __init__(
        self,
        home: Path,
        *,
        now: Now,
        password: Callable[[], str],
        known: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._home = home
        self._now = now
        self._password = password
        self._known = {OPERATOR: (OPERATOR, *LOCAL), **(known or {})}

    def lookup(self, name: str) -> str:
        """The secret `tls.ca`, or `tls.IDENTITY.PART`; issued first where nothing good is there."""
        if name == AUTHORITY:
            with layout.locked(self._home):
                return self._trust().text
        identity, _, part = name.removeprefix(PREFIX).rpartition(".")
        if part not in PARTS or identity not in self._known:
            raise InvalidError(
                f"`{name}` is no certificate of this stack: write `tls.ca` or"
                f" `tls.INSTANCE.PART` with a PART of {', '.join(PARTS)}"
            )
        with layout.locked(self._home):
            trust = self._trust()
            leaf = self._leaf(identity, trust)
        return _part(leaf, trust, part)

    def rows(self) -> list[Row]:
        """The authorities first, then every identity that has a certificate."""
        with layout.locked(self._home):
            trust = self._trust()
            leaves = self._leaves()
        roots = [self._row("authority", (), parsed(root.certificate)) for root in trust.roots]
        certificates = {name: parsed(leaf.pair.certificate) for name, leaf in leaves.items()}
        return roots + [self._row(name, hosts_of(one), one) for name, one in certificates.items()]

    def rotate(self, identity: str) -> None:
        """A new key and certificate under the same host names; `MissingError` if it has none."""
        with layout.locked(self._home):
            trust, old = self._trust(), self._read(identity)
            if old is None:
                raise MissingError(
                    f"`{identity}` has no certificate: `python -m infra.certificates list` shows"
                    " who has one"
                )
            self._renew(identity, hosts_of(parsed(old.pair.certificate)), trust)

    def advance(self) -> Trust:
        """One step of a change of authority; `ConflictError` while the last is not everywhere."""
        with layout.locked(self._home):
            trust = self._trust()
            late = [
                name for name, leaf in self._leaves().items() if not self._is_current(leaf, trust)
            ]
            if late:
                raise ConflictError(
                    f"{', '.join(f'`{name}`' for name in late)} still hold what the last step"
                    " replaced: run `up` first, or `forget` instances that are no more"
                )
            following = advanced(trust, new_root(self._home.name, self._now()))
            self._write_trust(following)
            return following

    def forget(self, identity: str) -> None:
        """The certificate of an instance that is no more is gone."""
        with layout.locked(self._home):
            self._path(identity).unlink(missing_ok=True)

    def _trust(self) -> Trust:
        path = self._folder / "authority.json"
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=Trust)
        first = Trust(roots=(new_root(self._home.name, self._now()),))
        self._write_trust(first)
        return first

    def _write_trust(self, trust: Trust) -> None:
        make_folder(self._folder)
        write_private(self._folder / "authority.json", msgspec.json.encode(trust).decode())

    def _leaf(self, identity: str, trust: Trust) -> Leaf:
        leaf = self._read(identity)
        hosts = self._known[identity]
        if leaf is None or not self._is_good(parsed(leaf.pair.certificate), hosts, trust):
            return self._renew(identity, hosts, trust)
        if leaf.made_for != self._made_for(trust):
            return self._store(identity, leaf.pair, trust)
        return leaf

    def _is_good(self, certificate: Certificate, hosts: Sequence[str], trust: Trust) -> bool:
        return (
            set(hosts_of(certificate)) == set(hosts)
            and is_issued_by(certificate, trust.issuing)
            and days_left(certificate, self._now()) >= RENEW_DAYS
        )

    def _is_current(self, leaf: Leaf, trust: Trust) -> bool:
        issued = is_issued_by(parsed(leaf.pair.certificate), trust.issuing)
        return issued and leaf.made_for == self._made_for(trust)

    def _renew(self, identity: str, hosts: Sequence[str], trust: Trust) -> Leaf:
        pair = issue(trust.issuing, identity, hosts, self._now())
        return self._store(identity, pair, trust)

    def _store(self, identity: str, pair: Pair, trust: Trust) -> Leaf:
        trusted = tuple(parsed(root.certificate) for root in trust.roots)
        octets = keystore(
            identity, private_key(pair), parsed(pair.certificate), trusted, self._password()
        )
        leaf = Leaf(
            pair=pair,
            keystore=base64.b64encode(octets).decode(),
            made_for=self._made_for(trust),
        )
        make_folder(self._path(identity).parent)
        write_private(self._path(identity), msgspec.json.encode(leaf).decode())
        return leaf

    def _made_for(self, trust: Trust) -> str:
        return hashlib.sha256(f"{trust.text}{self._password()}".encode()).hexdigest()

    def _leaves(self) -> dict[str, Leaf]:
        found = sorted((self._folder / "identities").glob("*.json"))
        return {path.stem: msgspec.json.decode(path.read_bytes(), type=Leaf) for path in found}

    def _read(self, identity: str) -> Leaf | None:
        path = self._path(identity)
        return msgspec.json.decode(path.read_bytes(), type=Leaf) if path.exists() else None

    def _path(self, identity: str) -> Path:
        return self._folder / "identities" / f"{identity}.json"

    @property
    def _folder(self) -> Path:
        return self._home / "tls"

    def _row(self, name: str, hosts: tuple[str, ...], certificate: Certificate) -> Row:
        return Row(
            name=name,
            hosts=hosts,
            ends=certificate.not_valid_after_utc,
            days_left=days_left(certificate, self._now()),
            fingerprint=fingerprint(certificate),
        )


def _part(leaf: Leaf, trust: Trust, part: str) -> str:
    texts = {
        "certificate": leaf.pair.certificate,
        "key": leaf.pair.key,
        "bundle": leaf.pair.key + leaf.pair.certificate + trust.issuing.certificate,
        "keystore": leaf.keystore,
    }
    return texts[part]
