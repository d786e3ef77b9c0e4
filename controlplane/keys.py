"""`python -m controlplane keys`: a key is shown once, from then on only its hash is known."""

import contextlib
import hashlib
import secrets
from collections.abc import Generator

import click
from rich.console import Console
from rich.table import Table

from controlplane.auth import Scope
from helix.adapters import postgres
from helix.errors import HelixError
from helix.ports import Credential
from helix.settings import Settings

PREFIX = "hx"
SHOWN_CHARACTERS = 8  # of a key: in its id, so that its holder can say which one it is
SECRET_BYTES = 32
NAME_CHARACTERS_MAX = 64


def made(tenant: str, scopes: frozenset[str], name: str) -> tuple[str, Credential]:
    """A new key, and what is to be known of it."""
    shown = secrets.token_hex(SHOWN_CHARACTERS // 2)
    key = f"{PREFIX}_{shown}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return key, Credential(key_id=f"{name}-{shown}", tenant=tenant, scopes=scopes)


@click.group()
def keys() -> None:
    """Issue, revoke and list API keys."""


@keys.command()
@click.option("--tenant", required=True, help="Whose data the key opens.")
@click.option("--scopes", default="read,write", show_default=True, help="What it may do.")
@click.option("--name", default="key", show_default=True, help="What it is for.")
@click.pass_obj
def issue(settings: Settings, tenant: str, scopes: str, name: str) -> None:
    """Make a key and print it, this once."""
    wanted = _scopes(scopes)
    _printable(tenant, "--tenant")
    _printable(name, "--name")
    key, credential = made(tenant, wanted, name)
    with _session(settings) as session:
        postgres.put_api_key(session, credential, hashlib.sha256(key.encode()).hexdigest())
    click.echo(f"key `{credential.key_id}` of `{tenant}`; it is not shown again:", err=True)
    click.echo(key)


@keys.command()
@click.argument("key_id")
@click.option("--tenant", required=True, help="Whose key it is.")
@click.pass_obj
def revoke(settings: Settings, key_id: str, tenant: str) -> None:
    """End a key; programs that saw it lately let it in for half a minute more."""
    with _session(settings) as session:
        if not postgres.revoke_api_key(session, tenant, key_id):
            raise click.ClickException(
                f"no key `{key_id}` of `{tenant}` is in use: see `python -m controlplane keys list`"
            )
    click.echo(f"key `{key_id}` of `{tenant}` is revoked")


@keys.command("list")
@click.option("--tenant", default="", help="Whose keys; everybody's without it.")
@click.pass_obj
def listed(settings: Settings, tenant: str) -> None:
    """Every key, the newest first."""
    with _session(settings) as session:
        rows = postgres.api_keys(session, tenant)
    table = Table("tenant", "key", "scopes", "since", "revoked", box=None)
    for row in rows:
        revoked = "" if row.revoked_at is None else f"{row.revoked_at:%Y-%m-%d %H:%M}"
        since = f"{row.created_at:%Y-%m-%d %H:%M}"
        table.add_row(row.tenant, row.key_id, ",".join(row.scopes), since, revoked)
    Console().print(table)


@contextlib.contextmanager
def _session(settings: Settings) -> Generator[postgres.Session]:
    session = postgres.Session(settings.postgres)
    try:
        yield session
    except HelixError as error:
        raise click.ClickException(error.message) from error
    finally:
        session.close()


def _scopes(given: str) -> frozenset[str]:
    wanted = frozenset(word.strip() for word in given.split(",") if word.strip())
    unknown = sorted(wanted - set(Scope))
    if unknown or not wanted:
        known = ", ".join(Scope)
        raise click.BadParameter(
            f"`{', '.join(unknown)}`: choose from {known}", param_hint="--scopes"
        )
    return wanted


def _printable(given: str, option: str) -> None:
    if not given.isprintable() or not 0 < len(given) <= NAME_CHARACTERS_MAX:
        raise click.BadParameter(
            f"is not 1 to {NAME_CHARACTERS_MAX} printable characters", param_hint=option
        )
