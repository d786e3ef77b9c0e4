"""Passwords get another version: the server first, and an interruption is made good."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from helix.errors import InvalidError, UnavailableError
from helix.settings import Postgres, Secret, Settings
from infra.composition import hosted_site, local_site, services
from infra.passwords import changing
from infra.passwords.__main__ import following
from infra.passwords.changing import KEPT, OWN, SHARED, change, changeable, selected
from infra.passwords.names import passwords
from infra.provider.secrets import current_version, master, set_version, vault
from infra.substrates.wanted import Wanted
from tests.unit.fleets import fleet


@dataclass
class Server:
    """Keeps one password, believes only that one, and can be away."""

    password: str
    away: bool = False
    told: list[str] = field(default_factory=list)

    def change(self, settings: Settings, password: str) -> None:
        if self.away:
            raise UnavailableError("postgres", "`postgres` is unavailable: away")
        if settings.postgres.password.reveal() != self.password:
            raise UnavailableError("postgres", "`postgres` is unavailable: refused")
        self.password = password
        self.told.append(password)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Believes the password that the stack has."""
    master(tmp_path)
    found = Server(vault(tmp_path)("postgres"))
    monkeypatch.setattr(changing, "KEPT", {"postgres": found.change})
    return found


def settings(lookup: Callable[[str], str]) -> Settings:
    return Settings(postgres=Postgres(password=Secret(lookup("postgres"))))


def test_a_server_is_told_the_password_that_its_readers_get(tmp_path: Path, server: Server) -> None:
    assert change(tmp_path, "postgres", settings) == 2
    assert server.password == vault(tmp_path)("postgres")
    assert change(tmp_path, "postgres", settings) == 3
    assert server.told[-1] == vault(tmp_path)("postgres")


def test_a_server_that_is_away_keeps_its_password_and_so_do_its_readers(
    tmp_path: Path, server: Server
) -> None:
    server.away = True

    with pytest.raises(UnavailableError, match="away"):
        change(tmp_path, "postgres", settings)
    assert current_version(tmp_path, "postgres") == 1


def test_a_change_interrupted_after_the_server_was_told_is_finished_by_the_next(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(changing, "set_version", interrupted)
        with pytest.raises(KeyboardInterrupt):
            change(tmp_path, "postgres", settings)
    assert server.password != vault(tmp_path)("postgres")

    assert change(tmp_path, "postgres", settings) == 2
    assert server.password == vault(tmp_path)("postgres")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_password_that_somebody_else_changed_is_left_alone(
    tmp_path: Path, server: Server
) -> None:
    server.password = "theirs"

    with pytest.raises(UnavailableError, match="refused"):
        change(tmp_path, "postgres", settings)
    assert (server.password, current_version(tmp_path, "postgres")) == ("theirs", 1)


def test_what_is_read_at_the_start_gets_a_version_and_tells_nobody(
    tmp_path: Path, server: Server
) -> None:
    assert change(tmp_path, "redis", settings) == 2
    assert server.told == []


def test_a_token_changes_with_what_signs_it(tmp_path: Path) -> None:
    master(tmp_path)
    lookup = vault(tmp_path)
    before = lookup("jwt.minio.helix.prometheus")
    set_version(tmp_path, "minio", 2)

    assert lookup("jwt.minio.helix.prometheus") != before
    assert current_version(tmp_path, "jwt.minio.helix.prometheus") == 2


def test_every_password_of_three_servers_is_known_by_name(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    wanted = fleet()
    here = hosted_site(wanted, env, "test")

    found = passwords(here, services(wanted, here))

    assert KEPT.keys() | SHARED | OWN.keys() | {"redis", "minio", "spark"} <= set(found)
    assert not [name for name in found if name.startswith(("tls.", "jwt."))]


def test_one_machine_has_the_passwords_of_what_runs_there(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path), "PATH": ""}
    here = local_site(Wanted(), env, "test")

    found = passwords(here, services(Wanted(), here))

    assert {"postgres", "neo4j", "rabbitmq", "redis", "api-key"} <= set(found)
    assert not {"kafka", "zookeeper", "iceberg"} & set(found)


def test_a_password_that_is_not_there_is_named() -> None:
    for chosen in (selected, changeable):
        with pytest.raises(InvalidError, match="no password `mysql` here: postgres, redis"):
            chosen(["redis", "mysql"], ["postgres", "redis"])


def test_what_only_its_server_changes_says_how() -> None:
    with pytest.raises(InvalidError, match="reset-admin-password"):
        changeable(["grafana"], ["grafana"])


def test_without_names_all_change_but_those_of_quorums_and_servers() -> None:
    there = ["grafana", "kafka", "kafka-broker", "redis", "zookeeper"]

    assert changeable([], there) == ["kafka", "redis"]
    assert changeable(["zookeeper"], there) == ["zookeeper"]
    assert selected([], there) == there


def test_a_quorum_is_stopped_before_its_members_get_another() -> None:
    assert following("prod", ["redis"]).startswith("run `make up STACK=prod` now")
    assert following("prod", ["redis", "zookeeper"]).startswith("run `make down STACK=prod`, then")
