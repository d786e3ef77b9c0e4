"""Every secret of a stack follows from one: the master, a file outside the clone."""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from helix.errors import InvalidError
from infra.provider import tokens
from infra.provider.files import write_private

MASTER = "secret"  # its file in the stack's folder
MASTER_BYTES = 32
SECRET_BYTES = 20  # 40 letters of hexadecimal: text that no file format or URL has to escape
FINGERPRINT_LETTERS = 12
FIRST = 1  # version
REFERENCE = re.compile(r"\$\{secret:([A-Za-z0-9_.-]+)\}")
OPENING = "${secret:"


def master(home: Path) -> bytes:
    """The stack's master secret: made at the first call, the same ever after."""
    path = home / MASTER
    if not path.exists():
        fresh = home / f".secret.{secrets.token_hex(4)}"
        write_private(fresh, secrets.token_hex(MASTER_BYTES))
        try:
            os.link(
                fresh, path
            )  # unlike a rename never replaces what another create made meanwhile
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return bytes.fromhex(path.read_text())


def exists(home: Path) -> bool:
    """Whether the stack has a master secret yet."""
    return (home / MASTER).exists()


def hkdf(key: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869): `length` bytes that tell nothing about `key`."""
    seed = hmac.digest(salt or bytes(hashlib.sha256().digest_size), key, "sha256")
    block, stream = b"", b""
    for counter in range(1, -(-length // hashlib.sha256().digest_size) + 1):
        block = hmac.digest(seed, block + info + bytes([counter]), "sha256")
        stream += block
    return stream[:length]


def derive(master_secret: bytes, name: str, version: int = FIRST) -> str:
    """The secret of that name: the same for the same master, name and version.

    A token is of the version of the secret that signs it.
    """
    token = tokens.claims(name)
    if token:
        return tokens.signed(token, derive(master_secret, token.signer, version))
    info = f"helix/{name}/{version}".encode()
    return hkdf(master_secret, salt=b"", info=info, length=SECRET_BYTES).hex()


def fingerprint(value: str) -> str:
    """What may be shown of a secret: it changes when the secret does."""
    return hashlib.sha256(value.encode()).hexdigest()[:FINGERPRINT_LETTERS]


def set_version(home: Path, name: str, version: int) -> None:
    """From now on the name stands for that version; kept by `destroy`, as the data it opens.

    Its file is as old as the version: one that stands already is not written again.
    """
    if version != current_version(home, name):
        write_private(version_file(home, name), str(version))


def version_file(home: Path, name: str) -> Path:
    """Where the version of a secret stands; a token is of the version of what signs it."""
    return home / "versions" / tokens.signer(name)


def current_version(home: Path, name: str) -> int:
    """The version of a secret: the first where none is written."""
    path = version_file(home, name)
    return int(path.read_text()) if path.exists() else FIRST


def vault(home: Path) -> Callable[[str], str]:
    """The lookup of a stack: the name's current version, derived from the master."""
    key = master(home)

    def lookup(name: str) -> str:
        return derive(key, name, current_version(home, name))

    return lookup


def references(text: str) -> list[str]:
    """The names of the secrets that a rendered text refers to."""
    return sorted({found[1] for found in REFERENCE.finditer(text)})


def resolve(text: str, lookup: Callable[[str], str]) -> str:
    """The text with every `${secret:NAME}` replaced by the secret."""
    resolved = REFERENCE.sub(lambda found: lookup(found[1]), text)
    if OPENING in resolved:
        where = resolved[resolved.index(OPENING) :][:60].splitlines()[0]
        raise InvalidError(
            f"`{where}` is no secret reference; write `${{secret:NAME}}` with a name of letters, "
            "digits, `_`, `.` and `-`"
        )
    return resolved
