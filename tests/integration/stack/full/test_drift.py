"""Drift of a running stack: planted behind its back, found by name, gone once it is undone."""

import contextlib
import json
import os

import pytest

from infra.provider.secrets import MASTER, vault
from tests.integration.live import not_rolled_out, resting
from tests.integration.planted import PLANTED, bootstrap, drift, found
from tests.integration.running import Running
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

OLD_S = 400 * 86_400


def age_passwords(stack: Running, older_s: float) -> None:
    """Every password was made that much earlier."""
    home = stack.stack.home
    for path in (home / MASTER, *home.glob("versions/*")):
        made = path.stat()
        os.utime(path, (made.st_atime, made.st_mtime - older_s))


def test_a_fresh_stack_is_as_declared_and_its_schemas_as_recorded(stack: Running) -> None:
    done = drift(stack)

    told = f"stack `{stack.stack.name}` is as declared\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")


def test_everything_planted_is_found_by_name_and_nothing_else(stack: Running) -> None:
    with contextlib.ExitStack() as mended:
        mended.callback(bootstrap, stack)
        for one in PLANTED:
            mended.callback(one.undo, stack)
            one.plant(stack)
        seen = found(stack)

    home = stack.stack.home
    assert sorted(seen) == sorted((one.kind, one.name.format(home=home)) for one in PLANTED)
    assert found(stack) == []


def test_passwords_of_more_than_a_year_are_named_each(stack: Running) -> None:
    listed = stack.run("infra.passwords", "list", *stack.chosen).splitlines()
    with contextlib.ExitStack() as mended:
        mended.callback(age_passwords, stack, -OLD_S)
        age_passwords(stack, OLD_S)
        seen = found(stack)

    assert {"postgres", "api-key"} <= {line.split()[0] for line in listed}
    assert sorted(seen) == sorted(("secret_age", line.split()[0]) for line in listed)


def test_a_password_that_was_not_rolled_out_is_named_wherever_it_is_used(stack: Running) -> None:
    home = stack.stack.home
    held = vault(home)("redis")
    with not_rolled_out(stack, "redis"):
        done = drift(stack, "--json")

    rows = json.loads(done.stdout)
    assert {"redis redis", "control-plane redis"} <= {row["name"] for row in rows}
    assert {row["kind"] for row in rows} == {"secret_age"}
    assert held not in done.stdout
    assert vault(home)("redis") == held


def test_a_store_that_is_away_is_named_and_the_rest_is_looked_at(stack: Running) -> None:
    with resting(stack, "qdrant"):
        done = drift(stack)
    until(lambda: drift(stack).returncode == 0, what="everything as declared again")

    assert done.returncode == 2
    assert done.stderr.startswith("`qdrant` was not looked at (index): `qdrant` is unavailable")
    assert done.stdout.startswith("image: `qdrant state`: declared running; live stopped")
    assert len(done.stdout.splitlines()) == 1
