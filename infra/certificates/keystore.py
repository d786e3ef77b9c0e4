"""PKCS#12 in which Java finds both what a server proves itself with and whom it trusts."""

import hashlib
import hmac
from typing import Annotated

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509 import Certificate, ObjectIdentifier
from cryptography.x509.oid import NameOID

BLOCK_BYTES = 64  # of SHA-256
MAC_PURPOSE = 3  # RFC 7292, appendix B.3


@asn1.sequence
class _Content:
    kind: ObjectIdentifier
    octets: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class _Algorithm:
    kind: ObjectIdentifier
    parameters: asn1.Null


@asn1.sequence
class _Digest:
    algorithm: _Algorithm
    octets: bytes


@asn1.sequence
class _Mac:
    digest: _Digest
    salt: bytes
    rounds: int


@asn1.sequence
class _Store:
    version: int
    content: _Content
    mac: _Mac


@asn1.sequence
class _Own:
    certificate: asn1.TLV
    key: asn1.TLV


@asn1.sequence
class _Trusted:
    authorities: asn1.TLV


@asn1.sequence
class _Both:
    certificate: asn1.TLV
    key: asn1.TLV
    authorities: asn1.TLV


def keystore(
    name: str,
    key: rsa.RSAPrivateKey,
    certificate: Certificate,
    trusted: tuple[Certificate, ...],
    password: str,
) -> bytes:
    """One store with the key's entry and an entry of every trusted authority.

    The library writes either the one or, with the attribute Java asks for, the others: the parts
    of both are put side by side, and the checksum over them is made anew. The chain of the key is
    found among the trusted.
    """
    lock = BestAvailableEncryption(password.encode())
    own = pkcs12.serialize_key_and_certificates(name.encode(), key, certificate, (), lock)
    entries = [pkcs12.PKCS12Certificate(one, _alias(one).encode()) for one in trusted]
    others = pkcs12.serialize_java_truststore(entries, lock)
    return _joined(asn1.decode_der(_Store, own), asn1.decode_der(_Store, others), password)


def _joined(own: _Store, others: _Store, password: str) -> bytes:
    mine = asn1.decode_der(_Own, own.content.octets)
    theirs = asn1.decode_der(_Trusted, others.content.octets)
    content = asn1.encode_der(
        _Both(certificate=mine.certificate, key=mine.key, authorities=theirs.authorities)
    )
    key = mac_key(password, own.mac.salt, own.mac.rounds)
    digest = _Digest(algorithm=own.mac.digest.algorithm, octets=hmac.digest(key, content, "sha256"))
    return asn1.encode_der(
        _Store(
            version=own.version,
            content=_Content(kind=own.content.kind, octets=content),
            mac=_Mac(digest=digest, salt=own.mac.salt, rounds=own.mac.rounds),
        )
    )


def mac_key(password: str, salt: bytes, rounds: int) -> bytes:
    """The key of the checksum: RFC 7292's derivation, of which SHA-256 needs one block."""
    text = f"{password}\0".encode("utf-16-be")
    block = bytes([MAC_PURPOSE]) * BLOCK_BYTES + _filled(salt) + _filled(text)
    for _ in range(rounds):
        block = hashlib.sha256(block).digest()
    return block


def _filled(text: bytes) -> bytes:
    """Repeated up to the next full block."""
    whole = -(-len(text) // BLOCK_BYTES) * BLOCK_BYTES
    return (text * (whole // len(text) + 1))[:whole]


def _alias(certificate: Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
