"""The load test's schedule, journey and verdict; the visitors themselves open sockets."""

from datetime import UTC, datetime
from io import StringIO
from random import Random

import httpx
import msgspec
import pytest
from rich.console import Console

from helix.budgets import ROUTE_BUDGETS
from helix.client.wire import (
    MessageMetadata,
    NewMessage,
    Position,
    Replay,
    ReplayedMessage,
    ReplayStats,
)
from helix.errors import InvalidError
from loadtest import target as targets
from loadtest.arrivals import Plan, schedule
from loadtest.journeys.conversations import REPLAY, STEPS, Written, journey
from loadtest.machine import measure
from loadtest.report import Circumstances, Record, record, show
from loadtest.target import affordable, is_loopback, target
from loadtest.verdict import Sample, errors, faults, figures, percentile

PLAN = Plan(users=50, rate=50, minutes=3, seed=1)
ROUTE = ROUTE_BUDGETS[0].route
GATE_MS = ROUTE_BUDGETS[0].p95_ms_gate
ENV = {"HELIX_URL": "http://127.0.0.1:1", "HELIX_API_KEY": "a, b"}


def said(count: int) -> list[NewMessage]:
    return [NewMessage(role="user", content=str(n)) for n in range(count)]


def replay(count: int) -> Replay:
    """The answer to a replay, with so many messages."""
    metadata = MessageMetadata(message_id="m", model="", tokens=0, name="")
    said_at = datetime(2026, 1, 1, tzinfo=UTC)
    message = ReplayedMessage(role="user", content="", timestamp=said_at, metadata=metadata)
    stats = ReplayStats(
        total_messages=count,
        total_tokens=0,
        events_replayed=count,
        replay_duration_ms=1,
        compressed=False,
        compression_ratio=1,
    )
    return Replay(
        conversation_id="c",
        total_tokens=0,
        compressed=False,
        exact_up_to=Position(epoch="e", partition=0, offset=count),
        degraded=False,
        sources={},
        stats=stats,
        messages=[message] * count,
    )


def sample(latency_ms: float, *, error: str = "") -> Sample:
    return Sample(route=ROUTE, latency_ms=latency_ms, service_ms=1, error=error)


def test_the_planned_number_of_users_is_active_on_average() -> None:
    due = schedule(PLAN, Random(1))
    seconds = range(int(PLAN.ramp_s), int(PLAN.total_s))
    active = [sum(visit[0] <= second < visit[-1] for visit in due) for second in seconds]

    assert sum(active) / len(active) == pytest.approx(PLAN.users, rel=0.15)


def test_requests_are_due_at_the_planned_rate() -> None:
    moments = [moment for visit in schedule(PLAN, Random(1)) for moment in visit]
    measured = sum(PLAN.ramp_s <= moment < PLAN.total_s for moment in moments)

    assert measured / (PLAN.minutes * 60) == pytest.approx(PLAN.rate, rel=0.15)


def test_the_same_seed_makes_the_same_schedule() -> None:
    assert schedule(PLAN, Random(7)) == schedule(PLAN, Random(7))


def test_a_visit_takes_its_steps_in_order() -> None:
    assert all(visit == sorted(visit) for visit in schedule(PLAN, Random(1)))


@pytest.mark.parametrize(
    ("option", "wrong"),
    [("users", {"users": 0}), ("minutes", {"minutes": 0}), ("rate", {"rate": -1})],
)
def test_a_plan_that_cannot_be_run_is_refused(option: str, wrong: dict[str, int]) -> None:
    fields = msgspec.structs.asdict(PLAN) | wrong

    with pytest.raises(InvalidError, match=f"--{option}"):
        Plan(**fields)


@pytest.mark.parametrize("count", [10, 20, 1000])
def test_every_journey_has_as_many_steps_as_the_schedule_plans(count: int) -> None:
    assert len(journey("c", said(count))) == STEPS


@pytest.mark.parametrize("count", [10, 20, 1000])
def test_a_journey_writes_every_message_once_and_in_order(count: int) -> None:
    adds = [step for step in journey("c", said(count)) if step.route.endswith("/messages")]
    bodies = [step.call.body for step in adds if step.call.method == "POST"]
    written = [message for body in bodies for message in msgspec.json.decode(body)]

    assert [message["content"] for message in written] == [str(n) for n in range(count)]


@pytest.mark.parametrize(
    ("statuses", "back", "wrong"),
    [
        ([202, 202], 20, ""),
        ([202, 202], 10, "20 messages were acknowledged, 10 came back"),
        ([202, 202], 30, "20 messages were acknowledged, 30 came back"),
        ([202, 0], 10, ""),
        ([202, 503], 20, ""),
        ([202, 503], 0, "10 messages were acknowledged and 10 are in doubt, 0 came back"),
        ([202, 429], 20, "10 messages were acknowledged, 20 came back"),
    ],
)
def test_a_replay_must_have_what_was_acknowledged_and_may_have_what_is_in_doubt(
    statuses: list[int], back: int, wrong: str
) -> None:
    steps = journey("c", said(100))
    adds = [step for step in steps if step.messages]
    complete = next(step for step in steps if step.route == REPLAY)
    written = Written()
    for step, status in zip(adds, statuses, strict=False):
        step.note(status, written)

    assert complete.wrong(replay(back), written) == wrong


def test_every_route_of_the_journey_has_a_budget() -> None:
    asked = {step.route for step in journey("c", said(20))}

    assert asked == {budget.route for budget in ROUTE_BUDGETS}


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]

    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.95) == 7


def test_a_route_over_its_budget_fails_the_run() -> None:
    samples = [sample(GATE_MS + 1) for _ in range(100)]

    assert [ROUTE in fault for fault in faults(samples, planned=100)] == [True]


def test_a_run_within_its_budgets_has_no_fault() -> None:
    samples = [sample(1) for _ in range(95)] + [sample(GATE_MS * 9) for _ in range(5)]

    assert faults(samples, planned=100) == []


def test_too_many_errors_fail_the_run() -> None:
    samples = [sample(1) for _ in range(98)] + [sample(1, error="429 X") for _ in range(2)]

    assert faults(samples, planned=100) == ["2.0% of the requests failed, more than 1%"]
    assert errors(samples) == [(f"{ROUTE}: 429 X", 2)]


def test_a_generator_that_fell_behind_fails_the_run() -> None:
    found = faults([sample(1)] * 90, planned=100)

    assert found == ["90 of 100 planned requests were sent: lower `--rate`"]


def test_nothing_measured_is_no_success() -> None:
    assert faults([], planned=0) == ["nothing was measured: give more `--minutes`"]


def test_latency_counts_from_the_moment_a_request_was_due() -> None:
    late = Sample(route=ROUTE, latency_ms=1500, service_ms=5)

    assert (figures([late])[0].p95_ms, figures([late])[0].service_p95_ms) == (1500, 5)


def test_a_record_says_where_and_how_it_was_measured() -> None:
    found = a_record([sample(1)] * 10)
    again = msgspec.json.decode(msgspec.json.encode(found), type=Record)

    assert again == found
    assert (again.machine.cores > 0, again.plan, again.sent) == (True, PLAN, 10)


def test_the_report_names_what_was_missed() -> None:
    out = StringIO()
    show(a_record([sample(GATE_MS + 1, error="503 X")] * 10), Console(file=out, width=20))

    assert "missed: `" in out.getvalue()
    assert "10 x POST /v1/conversations: 503 X" in out.getvalue()


def test_the_report_says_that_every_budget_is_met() -> None:
    out = StringIO()
    show(a_record([sample(1)] * 10), Console(file=out, width=20))

    assert out.getvalue().endswith("every budget is met\n")


def a_record(samples: list[Sample]) -> Record:
    run = Circumstances(
        started_at=datetime(2024, 1, 1, tzinfo=UTC),
        url="http://127.0.0.1:1",
        plan=PLAN,
        machine=measure(),
        planned=len(samples),
        generator_cpu=0.5,
    )
    return record(samples, run)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"])
def test_this_machine_may_be_loaded(host: str) -> None:
    assert is_loopback(f"http://{host}:80")


@pytest.mark.parametrize("url", ["http://10.0.0.1:80", "https://helix.example", "", "127.0.0.1"])
def test_another_machine_is_loaded_only_when_told(url: str) -> None:
    assert not is_loopback(url)
    if url:
        with pytest.raises(InvalidError, match="--allow-remote"):
            target(ENV | {"HELIX_URL": url}, allow_remote=False)
        assert target(ENV | {"HELIX_URL": url}, allow_remote=True)[0] == url


def test_several_keys_are_parted_by_commas() -> None:
    assert target(ENV, allow_remote=False) == ("http://127.0.0.1:1", ["a", "b"])


@pytest.mark.parametrize("name", ENV)
def test_a_missing_address_or_key_is_named(name: str) -> None:
    with pytest.raises(InvalidError, match=f"`{name}` is not set"):
        target({key: value for key, value in ENV.items() if key != name}, allow_remote=False)


def limited(monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]) -> None:
    body = {
        "status": "healthy",
        "running": True,
        "components": {},
        "services": [],
        "timestamp": "2024-01-01T00:00:00Z",
    }

    def answer(*_: object, **__: object) -> httpx.Response:
        return httpx.Response(200, json=body, headers=headers)

    monkeypatch.setattr(targets.httpx, "request", answer)


def test_a_plan_near_the_rate_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, {"X-RateLimit-Limit": "3000"})

    with pytest.raises(InvalidError, match="more keys"):
        affordable(PLAN, url="http://127.0.0.1:1", api_keys=["a"])
    affordable(PLAN, url="http://127.0.0.1:1", api_keys=["a", "b"])


def test_a_platform_without_a_rate_limit_takes_any_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, {})

    affordable(Plan(users=1, rate=1e6, minutes=1, seed=1), url="http://h", api_keys=["a"])
