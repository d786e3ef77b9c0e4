"""The whole platform on this machine: unchanged, killed, and with new passwords."""

import time
from collections import defaultdict
from collections.abc import Collection, Mapping

import httpx

from helix.topology.catalog import CATALOG
from tests.integration.live import refused
from tests.integration.planted import found
from tests.integration.running import Running, changes
from tests.waiting import until

NO_OP_S_MAX = 30.0
HEALTH_S_MAX = 120.0
UNAUTHORIZED = 401
WAVE = 4  # services killed at once


def test_a_second_up_changes_nothing_within_half_a_minute(stack: Running) -> None:
    started = time.monotonic()
    output = stack.apply()
    took_s = time.monotonic() - started

    assert changes(output) == []
    assert took_s < NO_OP_S_MAX


def test_every_killed_service_comes_back_by_itself(stack: Running) -> None:
    seen_away: set[str] = set()
    for wave in waves(stack.states()):
        stale, pids = stack.report(), stack.pids()
        assert stale.keys() >= wave
        for service in sorted(wave):
            stack.kill(service)
        for service in sorted(wave):
            until(
                lambda service=service, stale=stale, pids=pids: is_back(
                    stack, service, stale[service], pids[service], seen_away
                ),
                s_max=HEALTH_S_MAX,
                what=f"`{service}` healthy after kill -9",
            )
    until(stack.is_healthy, s_max=HEALTH_S_MAX, what="everything healthy")

    assert changes(stack.apply()) == []
    assert seen_away >= {"kafka", "neo4j", "control-plane", "rabbitmq", "flink-jobmanager"}


def waves(services: Collection[str]) -> list[set[str]]:
    """Services by the depth of what they need, few at a time: none of a wave needs another of it.

    Few, because the API says nothing of the others while what it needs itself is away.
    """
    found: defaultdict[int, list[str]] = defaultdict(list)
    for service in sorted(services):
        found[depth(service)].append(service)
    return [
        set(level[start : start + WAVE])
        for _, level in sorted(found.items())
        for start in range(0, len(level), WAVE)
    ]


def depth(service: str) -> int:
    """How many services stand above each other below this one."""
    return 1 + max(map(depth, CATALOG.service(service).needs), default=0)


def is_back(
    stack: Running,
    service: str,
    stale: tuple[str, str],
    pid: int,
    seen_away: set[str],
) -> bool:
    """Whether it is another process and was found healthy after the kill; notes who was away."""
    report: Mapping[str, tuple[str, str]] = stack.report()
    seen_away |= {name for name, (status, _) in report.items() if status == "unavailable"}
    seen_away |= set() if report else {"control-plane"}
    answer = report.get(service, ("unavailable", ""))
    return answer != stale and stack.pids()[service] not in {0, pid} and answer[0] == "healthy"


def test_every_password_changes_and_the_old_ones_open_nothing(stack: Running) -> None:
    told = stack.tell()
    old, kept = stack.settings, {"postgres", "neo4j", "rabbitmq"}
    stack.run("infra.passwords", "rotate", *stack.chosen)
    stack.apply()
    new = stack.settings

    assert stack.misquoted(told) == []
    assert refused(old, new, kept) == kept
    key = {"Authorization": f"Bearer {old.stack.api_key.reveal()}"}
    assert httpx.get(f"{stack.url}/v1/conversations", headers=key).status_code == UNAUTHORIZED
    assert [name for kind, name in found(stack) if kind == "secret_age"] == []
