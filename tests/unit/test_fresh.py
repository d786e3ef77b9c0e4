"""A new machine: what it has, what it shares, and how a command is run there."""

from pathlib import Path

from infra.fresh import root
from infra.fresh.root import Shared, Sharing


def test_a_new_machine_has_what_the_readme_says_and_nothing_of_ours() -> None:
    packages = set(root.recipe().packages)

    assert {"git", "make", "maven", "openjdk-17-jdk-headless", "python3"} <= packages
    assert packages.isdisjoint({"docker.io", "iptables", "mmdebstrap", "redis-server"})


def test_a_new_user_is_told_how_registries_are_reached_and_nothing_else() -> None:
    reaching = {"PIP_TIMEOUT": "9", "https_proxy": "p", "GOPROXY": "g"}
    env = root.environment({**reaching, "HELIX_API_KEY": "k", "VIRTUAL_ENV": "/v"})

    assert env.items() >= reaching.items()
    assert set(env) - set(reaching) == {"HOME", "PATH", "LANG", "TERM"}


def test_only_what_is_there_is_shared_and_a_cache_keeps_nothing_of_a_new_machine(
    tmp_path: Path,
) -> None:
    (tmp_path / ".npmrc").touch()
    cache = tmp_path / "cache"
    cache.mkdir()

    shared = root.shared(tmp_path, "", cache, None)

    assert Shared(source=str(tmp_path / ".npmrc"), target="/root/.npmrc") in shared
    assert {one.target: one.how for one in shared}["/root/.cache/helix"] is Sharing.LAYERED
    assert all(Path(one.source).exists() for one in shared)


def test_a_command_runs_in_the_root_with_nothing_of_the_callers_environment() -> None:
    shared = [Shared(source="/etc/hosts", target="/etc/hosts")]

    text = root.script(Path("/new root"), shared, {"HOME": "/root"}, "make up")

    assert text.startswith("set -eu\nmount --make-rprivate /\nroot='/new root'\n")
    assert 'cp -aLT --remove-destination /etc/hosts "$root"/etc/hosts' in text
    assert text.endswith(
        "exec chroot \"$root\" env -i HOME=/root sh -euc 'cd /root/helix && make up'\n"
    )
