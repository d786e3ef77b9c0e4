"""A certificate authority for tests, and what it gave to this machine, as files servers read."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.certificates.issuing import issue, new_root

LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Certificates:
    """One authority with a certificate of this machine, and an authority nobody here is of."""

    folder: Path

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def other_ca(self) -> str:
        return str(self.folder / "other-ca.pem")

    @property
    def certificate(self) -> str:
        return str(self.folder / "server.crt")

    @property
    def key(self) -> str:
        return str(self.folder / "server.key")


def certificates(folder: Path, *, hosts: tuple[str, ...] = LOCAL) -> Certificates:
    """New ones, written to the folder."""
    now = datetime.now(UTC)  # noqa: TID251 - a test is a composition root
    root, other = new_root("test", now), new_root("other", now)
    pair = issue(root, "server", hosts, now)
    texts = {
        "ca.pem": root.certificate,
        "other-ca.pem": other.certificate,
        "server.crt": pair.certificate,
        "server.key": pair.key,
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "server.key").chmod(0o600)
    return Certificates(folder)
