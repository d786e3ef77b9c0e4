"""Certificates as values: an authority's own, and what it issues to an identity."""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import Certificate, GeneralName, Name
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from helix.errors import InvalidError
from helix.topology.model import Record

AUTHORITY_DAYS = 3650
LEAF_DAYS = 397  # what public authorities allow: long enough to rotate at leisure
RENEW_DAYS = 30
SKEW_MIN = 5  # clocks of servers differ
RSA_BITS = 2048  # every server of the catalogue takes RSA
RSA_EXPONENT = 65537
NAME_LETTERS_MAX = 64  # of a common name
STACK_LETTERS_MAX = 10

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Root(Record, frozen=True):
    """An authority: its certificate and its key, as PEM."""

    certificate: str
    key: str


class Pair(Record, frozen=True):
    """What an identity proves itself with, as PEM."""

    certificate: str
    key: str


def new_root(stack: str, now: datetime) -> Root:
    """A new authority; its name is its own, so that two of a stack are told apart."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    number = x509.random_serial_number()
    name = _name(f"helix {stack[:STACK_LETTERS_MAX]} CA {number:x}")
    usage = _usage(signs_certificates=True)
    certificate = (
        x509.CertificateBuilder(name, name, public, number)
        .not_valid_before(now - timedelta(minutes=SKEW_MIN))
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Root(certificate=pem(certificate), key=_key_text(key))


def issue(root: Root, identity: str, hosts: Sequence[str], now: datetime) -> Pair:
    """A new key and its certificate, good as server and as client under those host names."""
    key = rsa.generate_private_key(RSA_EXPONENT, RSA_BITS)
    public = key.public_key()
    issuer = parsed(root.certificate)
    usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    certificate = (
        x509.CertificateBuilder(
            issuer.subject, _name(identity), public, x509.random_serial_number()
        )
        .not_valid_before(now - timedelta(minutes=SKEW_MIN))
        .not_valid_after(min(now + timedelta(days=LEAF_DAYS), issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(map(_general, hosts)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(_issuer_id(issuer), critical=False)
        .sign(_signing(root), hashes.SHA256())
    )
    return Pair(certificate=pem(certificate), key=_key_text(key))


def private_key(pair: Pair) -> rsa.RSAPrivateKey:
    """The key of an issued pair."""
    key = load_pem_private_key(pair.key.encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise InvalidError("the key of a certificate is no RSA key: rotate that identity")
    return key


def hosts_of(certificate: Certificate) -> tuple[str, ...]:
    """The host names and addresses it is good for."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(str(name.value) for name in names)


def is_issued_by(certificate: Certificate, root: Root) -> bool:
    """Whether that very authority signed it."""
    return certificate.issuer == parsed(root.certificate).subject


def days_left(certificate: Certificate, now: datetime) -> int:
    """Whole days until it ends; negative once it has."""
    return (certificate.not_valid_after_utc - now) // timedelta(days=1)


def fingerprint(certificate: Certificate) -> str:
    """Its SHA-256 as openssl and keytool print it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def parsed(text: str) -> Certificate:
    return x509.load_pem_x509_certificate(text.encode())


def pem(certificate: Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_text(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _signing(root: Root) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(root.key.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidError("the authority's key is no EC key: restore `tls` from a backup")
    return key


def _issuer_id(issuer: Certificate) -> x509.AuthorityKeyIdentifier:
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _name(text: str) -> Name:
    return Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:NAME_LETTERS_MAX])])


def _general(host: str) -> GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
