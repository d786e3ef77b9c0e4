"""Secrets follow from the master, and only from it."""

import stat
from pathlib import Path

import jwt
import pytest

from helix.errors import InvalidError
from infra.launch import secret
from infra.provider import secrets, tokens

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("key", "salt", "info", "expected"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "0b" * 22,
            "",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
    ids=["test case 1", "test case 3: no salt, no info"],
)
def test_hkdf_gives_the_vectors_of_rfc_5869(key: str, salt: str, info: str, expected: str) -> None:
    made = secrets.hkdf(
        bytes.fromhex(key), salt=bytes.fromhex(salt), info=bytes.fromhex(info), length=42
    )

    assert made.hex() == expected


def test_a_secret_depends_on_master_name_and_version() -> None:
    made = {
        secrets.derive(KEY, "kafka"),
        secrets.derive(KEY, "redis"),
        secrets.derive(KEY, "kafka", 2),
        secrets.derive(bytes(32), "kafka"),
    }

    assert len(made) == 4
    assert secrets.derive(KEY, "kafka") == secrets.derive(KEY, "kafka", 1)


def test_a_secret_needs_no_escaping_anywhere() -> None:
    assert secrets.derive(KEY, "kafka").isalnum()


def test_the_master_is_made_once_and_private(tmp_path: Path) -> None:
    made = secrets.master(tmp_path)

    assert secrets.master(tmp_path) == made
    assert len(made) == secrets.MASTER_BYTES
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_vault_knows_the_current_version(tmp_path: Path) -> None:
    first = secrets.vault(tmp_path)("kafka")

    secrets.set_version(tmp_path, "kafka", 2)

    assert secrets.vault(tmp_path)("kafka") != first
    assert secrets.vault(tmp_path)("redis") == secrets.derive(secrets.master(tmp_path), "redis")


def test_every_reference_of_a_text_is_resolved() -> None:
    text = f"a={secret('one')}\nb=$HOME {secret('two.x-y_z')}"

    assert secrets.resolve(text, str.upper) == "a=ONE\nb=$HOME TWO.X-Y_Z"


def _claims(token: str, key: str) -> dict[str, object]:
    return jwt.decode(token, key, algorithms=["HS256"])


def test_a_token_is_signed_by_the_secret_its_name_says(tmp_path: Path) -> None:
    lookup = secrets.vault(tmp_path)
    token = lookup("jwt.minio.helix.prometheus")

    assert _claims(token, lookup("minio")) == {
        "sub": "helix",
        "iss": "prometheus",
        "exp": tokens.ENDS_S,
    }
    with pytest.raises(jwt.InvalidSignatureError):
        _claims(token, lookup("redis"))


def test_a_token_is_the_same_at_every_look_until_its_signer_is_another(tmp_path: Path) -> None:
    first = secrets.vault(tmp_path)("jwt.minio.helix.prometheus")
    again = secrets.vault(tmp_path)("jwt.minio.helix.prometheus")

    secrets.set_version(tmp_path, "minio", 2)
    lookup = secrets.vault(tmp_path)
    after = lookup("jwt.minio.helix.prometheus")

    assert again == first == secrets.derive(secrets.master(tmp_path), "jwt.minio.helix.prometheus")
    assert after != first
    assert _claims(after, lookup("minio"))["sub"] == "helix"


@pytest.mark.parametrize("name", ["jwt.", "jwt.minio", "jwt.minio..prometheus", "jwt.a.b.c.d"])
def test_a_token_without_signer_subject_and_issuer_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match=r"write `jwt\.SIGNER\.SUBJECT\.ISSUER`"):
        secrets.derive(KEY, name)


@pytest.mark.parametrize("text", ["${secret:}", "${secret:a b}", "x ${secret:a"])
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="is no secret reference"):
        secrets.resolve(text, str)


def test_a_fingerprint_tells_secrets_apart_and_is_none() -> None:
    one, two = secrets.derive(KEY, "one"), secrets.derive(KEY, "two")

    assert secrets.fingerprint(one) != secrets.fingerprint(two)
    assert secrets.fingerprint(one) not in one
