"""What a stack's authority keeps, renews and hands over."""

import base64
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from cryptography.x509 import verification
from cryptography.x509.oid import NameOID

from helix.errors import ConflictError, InvalidError, MissingError
from infra.certificates.__main__ import ending, main
from infra.certificates.authority import LOCAL, Authority, advanced
from infra.certificates.issuing import LEAF_DAYS, RENEW_DAYS, parsed
from infra.certificates.vault import stack_vault
from infra.provider import secrets

START = datetime(2026, 11, 21, tzinfo=UTC)
HOSTS = {
    "kafka-1": ("10.77.0.11", "kafka-1", *LOCAL),
    "postgres": ("10.77.0.12", "postgres.helix.svc", *LOCAL),
}


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_days(self, days: int) -> None:
        self.now += timedelta(days=days)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "fleet"


def made(home: Path, clock: Clock, *, password: str = "opens") -> Authority:
    return Authority(home, now=clock, password=lambda: password, known=HOSTS)


def verified(authority: Authority, identity: str, host: str) -> bool:
    """Whether a client that believes the stack's authorities takes the server for `host`."""
    roots = x509.load_pem_x509_certificates(authority.lookup("tls.ca").encode())
    leaf = parsed(authority.lookup(f"tls.{identity}.certificate"))
    subject = _subject(host)
    policy = verification.PolicyBuilder().store(verification.Store(roots)).time(START)
    try:
        policy.build_server_verifier(subject).verify(leaf, [])
    except verification.VerificationError:
        return False
    return True


def _subject(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@pytest.mark.parametrize("host", ["10.77.0.11", "kafka-1", "localhost", "127.0.0.1"])
def test_a_certificate_is_good_for_every_name_of_its_instance(
    home: Path, clock: Clock, host: str
) -> None:
    assert verified(made(home, clock), "kafka-1", host)


def test_a_certificate_is_good_for_no_other_instance(home: Path, clock: Clock) -> None:
    assert not verified(made(home, clock), "kafka-1", "10.77.0.12")


def test_the_same_names_give_the_same_bytes_on_every_run(home: Path, clock: Clock) -> None:
    names = [f"tls.kafka-1.{part}" for part in ("certificate", "key", "bundle", "keystore")]
    first = [made(home, clock).lookup(name) for name in ["tls.ca", *names]]

    clock.pass_days(LEAF_DAYS - RENEW_DAYS)

    assert [made(home, clock).lookup(name) for name in ["tls.ca", *names]] == first


def test_a_certificate_is_renewed_within_its_last_thirty_days(home: Path, clock: Clock) -> None:
    first = made(home, clock).lookup("tls.kafka-1.certificate")

    clock.pass_days(LEAF_DAYS - RENEW_DAYS + 1)

    assert made(home, clock).lookup("tls.kafka-1.certificate") != first


def test_a_moved_instance_gets_a_new_certificate(home: Path, clock: Clock) -> None:
    made(home, clock).lookup("tls.kafka-1.certificate")
    known = {"kafka-1": ("10.77.0.99", *LOCAL)}
    moved = Authority(home, now=clock, password=lambda: "opens", known=known)

    assert verified(moved, "kafka-1", "10.77.0.99")


def test_nobody_else_can_read_the_keys(home: Path, clock: Clock) -> None:
    made(home, clock).lookup("tls.kafka-1.key")

    for path in (home / "tls").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_bundle_is_key_certificate_and_authority(home: Path, clock: Clock) -> None:
    mine = made(home, clock)

    bundle = mine.lookup("tls.postgres.bundle")

    parts = [mine.lookup(name) for name in ("tls.postgres.key", "tls.postgres.certificate")]
    assert bundle == "".join([*parts, mine.lookup("tls.ca")])
    assert bundle.startswith("-----BEGIN PRIVATE KEY-----")
    assert load_pem_private_key(bundle.encode(), None)


def test_the_keystore_holds_the_key_and_trusts_the_authority(home: Path, clock: Clock) -> None:
    mine = made(home, clock)

    store = pkcs12.load_pkcs12(base64.b64decode(mine.lookup("tls.kafka-1.keystore")), b"opens")

    assert store.cert
    assert store.cert.certificate == parsed(mine.lookup("tls.kafka-1.certificate"))
    trusted = [one.certificate for one in store.additional_certs]
    assert trusted == [parsed(mine.lookup("tls.ca"))]


def test_a_new_password_remakes_the_keystore_alone(home: Path, clock: Clock) -> None:
    names = ("tls.kafka-1.key", "tls.kafka-1.keystore")
    key, store = [made(home, clock).lookup(name) for name in names]

    later = made(home, clock, password="other")

    assert later.lookup("tls.kafka-1.key") == key
    assert later.lookup("tls.kafka-1.keystore") != store


def test_a_rotated_identity_keeps_its_names(home: Path, clock: Clock) -> None:
    mine = made(home, clock)
    before = mine.lookup("tls.kafka-1.key")

    mine.rotate("kafka-1")

    assert mine.lookup("tls.kafka-1.key") != before
    assert verified(mine, "kafka-1", "10.77.0.11")


def test_an_identity_without_certificate_cannot_be_rotated(home: Path, clock: Clock) -> None:
    with pytest.raises(MissingError, match="`kafka-9`"):
        made(home, clock).rotate("kafka-9")


def test_a_new_authority_takes_over_while_both_are_believed(home: Path, clock: Clock) -> None:
    mine = made(home, clock)
    old, leaf = mine.lookup("tls.ca"), mine.lookup("tls.kafka-1.certificate")

    mine.advance()
    assert mine.lookup("tls.ca").startswith(old)
    assert mine.lookup("tls.kafka-1.certificate") == leaf

    mine.lookup("tls.kafka-1.keystore")
    mine.advance()
    assert mine.lookup("tls.ca").startswith(old)
    assert mine.lookup("tls.kafka-1.certificate") != leaf
    assert verified(mine, "kafka-1", "kafka-1")

    mine.advance()
    assert old not in mine.lookup("tls.ca")
    assert verified(mine, "kafka-1", "kafka-1")


def test_a_change_of_authority_waits_for_every_instance(home: Path, clock: Clock) -> None:
    mine = made(home, clock)
    mine.lookup("tls.kafka-1.certificate")
    mine.advance()

    with pytest.raises(ConflictError, match="`kafka-1`"):
        mine.advance()

    mine.forget("kafka-1")
    mine.advance()


def test_an_interrupted_change_goes_on_where_it_was(home: Path, clock: Clock) -> None:
    first = made(home, clock)
    trust = first.advance()

    assert first.advance() == advanced(trust, trust.roots[0])
    assert len(made(home, clock).advance().roots) == 1


@pytest.mark.parametrize("name", ["tls.kafka-9.key", "tls.kafka-1.password", "tls.kafka-1"])
def test_an_unknown_certificate_is_refused_by_name(home: Path, clock: Clock, name: str) -> None:
    with pytest.raises(InvalidError, match=name):
        made(home, clock).lookup(name)


def test_the_operator_always_has_a_certificate(home: Path, clock: Clock) -> None:
    mine = Authority(home, now=clock, password=lambda: "opens")

    leaf = parsed(mine.lookup("tls.operator.certificate"))

    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "operator"


def test_one_vault_answers_passwords_and_certificates(home: Path, clock: Clock) -> None:
    lookup = stack_vault(home, HOSTS, now=clock)

    assert lookup("kafka") == secrets.vault(home)("kafka")
    store = base64.b64decode(lookup("tls.kafka-1.keystore"))
    assert pkcs12.load_pkcs12(store, lookup("keystore").encode()).key


def test_the_list_says_who_how_long_and_what_ends_soon(home: Path, clock: Clock) -> None:
    mine = made(home, clock)
    mine.lookup("tls.kafka-1.certificate")
    assert [(row.name, row.days_left) for row in mine.rows()] == [
        ("authority", 3650),
        ("kafka-1", LEAF_DAYS),
    ]
    assert ending(mine.rows()) == []

    clock.pass_days(LEAF_DAYS)

    assert ending(mine.rows()) == ["`kafka-1` ends on 2027-12-23: run `up`"]


def test_the_command_rotates_every_identity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "fleet"
    stack_vault(home, HOSTS, now=lambda: datetime.now(UTC))("tls.kafka-1.key")  # noqa: TID251 - the command's own clock

    assert main(["rotate", "--stack", "fleet"], tmp_path) == 0
    assert main(["check", "--stack", "fleet"], tmp_path) == 0
    assert main(["rotate", "--stack", "strange"], tmp_path) == 1
    said = capsys.readouterr()
    assert "`kafka-1` has a new key" in said.out
    assert "`strange` has never been up" in said.err
