"""Facts of the settings."""

import pytest

from helix.errors import TopologyError
from helix.settings import Secret, Settings, from_env, listing
from helix.topology.catalog import CATALOG
from helix.topology.model import port_of


def test_no_environment_means_the_catalogues_endpoints() -> None:
    settings = from_env({})

    assert settings == Settings()
    assert settings.postgres.port == port_of(CATALOG.service("postgres"), "sql").number


def test_a_name_sets_its_setting() -> None:
    assert from_env({"HELIX__KAFKA__LINGER_MS": "7"}).kafka.linger_ms == 7


def test_a_misspelt_setting_stops_the_process() -> None:
    with pytest.raises(TopologyError, match="HELIX__KAFKA__LINGERMS"):
        from_env({"HELIX__KAFKA__LINGERMS": "7"})


def test_a_value_of_the_wrong_kind_stops_the_process() -> None:
    with pytest.raises(TopologyError, match="linger_ms"):
        from_env({"HELIX__KAFKA__LINGER_MS": "soon"})


def test_other_names_are_not_ours() -> None:
    assert from_env({"PATH": "/bin"}) == Settings()


def test_the_ancestors_names_still_work_and_ours_win() -> None:
    env = {"SVC_POSTGRES_HOST": "old", "SVC_REDIS_HOST": "old", "HELIX__POSTGRES__HOST": "new"}

    settings = from_env(env)

    assert (settings.postgres.host, settings.redis.host) == ("new", "old")


def test_a_secret_prints_as_stars() -> None:
    secret = Secret("hunter2")

    assert f"{secret} {secret!r} {secret!s}" == "*** '***' ***"
    assert secret.reveal() == "hunter2"


def test_the_listing_hides_secrets_and_names_the_source() -> None:
    env = {"HELIX__POSTGRES__PASSWORD": "hunter2"}

    lines = {name: (value, source) for name, value, source in listing(from_env(env), env)}

    assert lines["HELIX__POSTGRES__PASSWORD"] == ("***", "environment")
    assert lines["HELIX__POSTGRES__HOST"] == ("127.0.0.1", "default")
