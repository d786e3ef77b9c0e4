"""Tokens that prove who asks to a server that itself signs such tokens: they follow from a secret.

`jwt.SIGNER.SUBJECT.ISSUER` names one: the secret SIGNER signs that ISSUER made it for SUBJECT.
"""

from typing import NamedTuple

import jwt

from helix.errors import InvalidError

PREFIX = "jwt."
# The shortest that standard servers take: SHA-512 wants keys longer than a secret of a stack.
ALGORITHM = "HS256"
# The start of the year 2100. An end counted from now would give another token at every look; to
# end this one before, its signer gets another version.
ENDS_S = 4_102_444_800


class Claims(NamedTuple):
    """What a name says of its token."""

    signer: str
    subject: str
    issuer: str


def claims(name: str) -> Claims | None:
    """What the token of that name claims; None if it is the name of no token."""
    if not name.startswith(PREFIX):
        return None
    parts = name.removeprefix(PREFIX).split(".")
    if len(parts) != len(Claims._fields) or not all(parts):
        raise InvalidError(f"`{name}` is no token of this stack: write `jwt.SIGNER.SUBJECT.ISSUER`")
    return Claims(*parts)


def signer(name: str) -> str:
    """The secret whose version the name has: of a token the one that signs it, else its own."""
    token = claims(name)
    return token.signer if token else name


def signed(token: Claims, key: str) -> str:
    """The token itself: the same for the same claims and key."""
    said = {"exp": ENDS_S, "sub": token.subject, "iss": token.issuer}
    return jwt.encode(said, key, algorithm=ALGORITHM)
