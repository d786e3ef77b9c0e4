"""The context routes over a world in memory: replays, budgets, receipts, and what was dropped."""

import asyncio
import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, cast, get_args

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from controlplane import replay as replaying
from controlplane.app import create
from controlplane.background import TASKS_MAX, Background
from controlplane.health import Monitor, Probes
from controlplane.replay import TOPIC
from helix.adapters import fakes
from helix.client.wire import Strategy
from helix.domain.compression import STRATEGIES
from helix.domain.ids import log_key
from helix.errors import UnavailableError
from helix.ports import Credential, World
from helix.settings import Settings
from helix.topology.catalog import CATALOG

KEY = "all"
AUTH = {"Authorization": f"Bearer {KEY}"}
CREDENTIAL = Credential("k", "acme", frozenset({"read", "write"}))
COST = 4  # tokens of each line below


class Service:
    """The application, what it stands on, and a client that has a key."""

    def __init__(self, client: TestClient[Litestar], world: World) -> None:
        self.client = client
        self.log = cast("fakes.FakeLog", world.log)
        self.warm = cast("fakes.FakeEvents", world.events)
        self.states = cast("fakes.FakeStates", world.conversations)

    def post(self, path: str, body: object, **headers: str) -> Any:
        return self.client.post(path, json=body, headers={**AUTH, **headers})

    def get(self, path: str) -> Any:
        return self.client.get(path, headers=AUTH)

    def say(self, *texts: str, role: str = "user") -> None:
        lines = [
            {"role": role, "content": text, "message_id": f"m-{text.split()[0]}"} for text in texts
        ]
        response = self.post("/v1/conversations/c1/messages", lines)
        assert response.status_code == 202, response.text

    def replay(self, conversation_id: str = "c1", **body: Any) -> Any:
        return self.post("/v1/context/replay", {"conversation_id": conversation_id, **body})

    def replayed(self, **body: Any) -> Any:
        response = self.replay(**body)
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def serving(world: World) -> Generator[Service]:
    monitor = Monitor([], world.clock, Probes(ask=lambda _: "asked"))
    with TestClient(create(world, Settings(), CATALOG, monitor)) as client:
        yield Service(client, world)
    monitor.close()


def in_memory() -> World:
    return fakes.world({hashlib.sha256(KEY.encode()).hexdigest(): CREDENTIAL})


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(in_memory()) as serving_it:
        yield serving_it


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """The details of an answer that must be a refusal in the envelope."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    return error["details"]


def contents(body: dict[str, Any]) -> list[str]:
    return [message["content"] for message in body["messages"]]


def line(number: int) -> str:
    return f"{number} costs four tokens"


def ten(service: Service) -> None:
    service.say(*(line(number) for number in range(10)))


def test_what_was_said_is_replayed_in_order_and_exactly(service: Service) -> None:
    service.post("/v1/conversations", {"user_id": "u", "conversation_id": "c1"})
    lines = [{"role": "user", "content": f"line {n}\n“é” 🙂", "name": "Ann"} for n in range(300)]
    service.post("/v1/conversations/c1/messages", lines)

    body = service.replayed()

    assert contents(body) == [said["content"] for said in lines]
    assert body["exact_up_to"]["offset"] == 301
    assert body["degraded"] is False
    assert body["compressed"] is False
    assert body["sources"] == {"clickhouse": 301, "kafka": 0}
    assert {m["metadata"]["name"] for m in body["messages"]} == {"Ann"}
    assert body["total_tokens"] == sum(m["metadata"]["tokens"] for m in body["messages"])
    assert body["stats"]["total_messages"] == 300
    assert body["stats"]["events_replayed"] == 301
    assert body["stats"]["replay_duration_ms"] > 0
    assert (body["gap"], body["receipt"], body["compression_stats"]) == (None, None, None)


def test_a_bound_keeps_the_newest_and_accounts_for_the_rest(service: Service) -> None:
    ten(service)

    body = service.replayed(max_tokens=3 * COST + 1)

    assert contents(body) == [line(7), line(8), line(9)]
    assert body["compressed"] is True
    assert body["receipt"]["kept"] == ["m-7", "m-8", "m-9"]
    assert body["receipt"]["dropped"] == [f"m-{number}" for number in range(7)]
    measured = body["compression_stats"]
    assert measured["strategy"] == "window"
    assert (measured["original_tokens"], measured["compressed_tokens"]) == (10 * COST, 3 * COST)
    assert measured["compression_ratio"] == pytest.approx(0.3)
    assert 0 <= measured["quality_score"] <= 1


@pytest.mark.parametrize("strategy", ["window", "entity", "full", "hybrid"])
def test_no_strategy_goes_over_the_bound(service: Service, strategy: str) -> None:
    ten(service)

    body = service.replayed(max_tokens=5 * COST, compression_strategy=strategy)

    assert body["total_tokens"] <= 5 * COST
    assert body["compression_stats"]["strategy"] == strategy
    assert contents(body)[-2:] == [line(8), line(9)]


def test_a_strategy_without_a_bound_aims_at_a_third(service: Service) -> None:
    ten(service)

    assert service.replayed(compression_strategy="hybrid")["total_tokens"] == 3 * COST


def test_an_aim_gives_way_to_what_must_stay(service: Service) -> None:
    service.say(*(line(number) for number in range(3)))

    assert contents(service.replayed(compression_strategy="full")) == [line(1), line(2)]


def test_pins_stay_and_too_small_a_bound_names_the_least(service: Service) -> None:
    ten(service)
    pinned: dict[str, Any] = {
        "compression_strategy": "hybrid",
        "pins": ["m-0", "m-1"],
        "pin_last": 1,
    }

    details = refused(service.replay(max_tokens=COST, **pinned), 400, "BUDGET_TOO_SMALL")
    body = service.replayed(max_tokens=details["minimum"], **pinned)

    assert details == {"field": "max_tokens", "minimum": 3 * COST}
    assert contents(body) == [line(0), line(1), line(9)]
    assert body["receipt"]["pins_kept"] == 3


def test_a_pin_of_no_message_is_refused(service: Service) -> None:
    ten(service)

    response = service.replay(max_tokens=99, pins=["m-0", "nobody"])

    assert refused(response, 400, "UNKNOWN_PIN")["field"] == "pins"


@pytest.mark.parametrize(
    "asked", [{"query": "x"}, {"pins": ["m-1"]}, {"pin_last": 0}, {"summarise": True}]
)
def test_what_only_a_compression_heeds_is_refused_without_one(
    service: Service, asked: dict[str, Any]
) -> None:
    ten(service)

    assert refused(service.replay(**asked), 400, "INVALID_REQUEST")["field"] == next(iter(asked))


def test_a_query_alone_ranks_by_it(service: Service) -> None:
    ten(service)

    body = service.replayed(max_tokens=5 * COST, query="3 costs")

    assert body["compression_stats"]["strategy"] == "hybrid"


def test_every_strategy_there_is_may_be_asked_for() -> None:
    assert get_args(Strategy) == STRATEGIES


def test_an_asked_recall_chooses_from_the_measured_curve(service: Service) -> None:
    ten(service)

    body = service.replayed(recall=0.3)

    curve = body["curve"]
    assert curve["low"] >= 0.3
    assert curve["low"] <= curve["expected"] <= curve["high"]
    assert body["compression_stats"]["strategy"] == curve["strategy"]


def test_a_recall_that_no_point_reaches_is_refused(service: Service) -> None:
    ten(service)

    details = refused(service.replay(recall=1.0), 400, "RECALL_OUT_OF_REACH")

    assert details["field"] == "recall"
    assert 0 < details["maximum"] < 1


def test_a_recall_and_a_strategy_contradict_each_other(service: Service) -> None:
    ten(service)

    response = service.replay(recall=0.3, compression_strategy="full")

    assert refused(response, 400, "INVALID_REQUEST")["field"] == "compression_strategy"


def test_a_recall_that_needs_more_than_the_bound_is_refused(service: Service) -> None:
    ten(service)

    details = refused(service.replay(recall=0.3, max_tokens=1), 400, "BUDGET_TOO_SMALL")

    assert details["minimum"] > 1


def test_a_compression_is_told_to_the_log_and_listed(service: Service) -> None:
    ten(service)
    service.replayed(compression_strategy="window")
    service.replayed(max_tokens=5 * COST, compression_strategy="hybrid")

    made = service.get("/v1/context/compression/c1").json()["compressions"]

    assert [row["strategy"] for row in made] == ["hybrid", "window"]
    assert made[1]["original_tokens"] == 10 * COST
    assert made[1]["compressed_tokens"] == 3 * COST
    assert made[1]["ratio"] == pytest.approx(0.3)
    assert set(made[1]["preserved"]) == {"entities", "numbers", "dates"}
    assert len(service.get("/v1/context/compression/c1?limit=1").json()["compressions"]) == 1
    assert service.replayed()["stats"]["total_messages"] == 10


def test_a_bound_that_everything_fits_is_no_compression(service: Service) -> None:
    ten(service)

    body = service.replayed(max_tokens=1000)

    assert body["compressed"] is False
    assert body["receipt"]["dropped"] == []
    assert service.get("/v1/context/compression/c1").json()["compressions"] == []


def test_a_compression_that_cannot_be_told_is_answered_all_the_same(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ten(service)

    async def away(*_: object) -> None:
        raise UnavailableError("kafka")

    monkeypatch.setattr(service.log, "publish", away)

    assert service.replayed(compression_strategy="window")["compressed"] is True


def test_what_was_dropped_is_fetched_by_its_ids(service: Service) -> None:
    ten(service)
    dropped = service.replayed(max_tokens=3 * COST)["receipt"]["dropped"]

    asked = {"conversation_id": "c1", "message_ids": [*reversed(dropped), "no", "no"]}
    body = service.post("/v1/context/expand", asked).json()

    assert contents(body) == [line(number) for number in range(7)]
    assert body["missing"] == ["no"]


@pytest.mark.parametrize("ids", [[], ["x"] * 1001, [""], "m-1"])
def test_a_bad_list_of_ids_is_refused(service: Service, ids: object) -> None:
    ten(service)

    response = service.post("/v1/context/expand", {"conversation_id": "c1", "message_ids": ids})

    assert refused(response, 400, "INVALID_REQUEST")["field"].startswith("message_ids")


def test_since_leaves_out_what_is_older(service: Service) -> None:
    for year in (2020, 2024):
        at = f"{year}-01-01T00:00:00+02:00"
        said = {"role": "user", "content": str(year), "created_at": at}
        service.post("/v1/conversations/c1/messages", said)

    body = service.replayed(since="2023-01-01T00:00:00Z")

    assert contents(body) == ["2024"]
    assert body["stats"]["total_messages"] == 2


def test_ndjson_ends_with_the_summary(service: Service) -> None:
    service.say(*(line(number) for number in range(500)))

    response = service.post(
        "/v1/context/replay", {"conversation_id": "c1"}, Accept="application/x-ndjson"
    )

    *messages, summary = [json.loads(row) for row in response.text.splitlines()]
    assert [row["message"]["content"] for row in messages] == [line(n) for n in range(500)]
    assert summary["replay"]["conversation_id"] == "c1"
    assert summary["replay"]["stats"]["total_messages"] == 500


def test_a_resume_is_the_snapshots_context_and_what_came_after(service: Service) -> None:
    ten(service)
    service.states.take_snapshot("acme", "c1", tokens_max=2 * COST)
    service.say("after it")

    body = service.replayed(resume_from_snapshot=True)

    assert contents(body) == [line(8), line(9), "after it"]
    assert body["resumed_from"]["offset"] == 10
    assert body["exact_up_to"]["offset"] == 11
    assert body["sources"]["snapshot"] == 1
    assert body["stats"]["total_messages"] == 11
    assert body["stats"]["events_replayed"] == 1


def test_a_resume_without_a_snapshot_is_complete_and_says_so(service: Service) -> None:
    ten(service)

    body = service.replayed(resume_from_snapshot=True)

    assert len(body["messages"]) == 10
    assert body["resumed_from"] is None
    assert body["sources"]["snapshot"] == 0


def test_a_resume_fits_into_a_bound_as_well(service: Service) -> None:
    ten(service)
    service.states.take_snapshot("acme", "c1", tokens_max=5 * COST)

    body = service.replayed(
        resume_from_snapshot=True, max_tokens=2 * COST, compression_strategy="hybrid"
    )

    assert contents(body) == [line(8), line(9)]
    assert body["stats"]["total_tokens"] == 10 * COST


def test_a_gap_is_named_in_the_answer(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    ten(service)
    partition = asyncio.run(service.log.partition(TOPIC, log_key("acme", "c1")))
    monkeypatch.setattr(replaying, "TAIL_RECORDS_MAX", 2)
    firsts = service.log.firsts

    async def expired(*_: object, **__: object) -> list[Any]:
        return [s for _, s in firsts() if s.position.partition == partition][7:]

    monkeypatch.setattr(service.warm, "events", expired)

    gap = service.replayed()["gap"]

    assert gap["events"] == 7
    assert "more than a replay may read" in gap["reason"]


def test_stats_count_anew_once_messages_changed(service: Service) -> None:
    service.post("/v1/conversations", {"user_id": "u", "conversation_id": "c1"})
    ten(service)
    before = service.get("/v1/context/stats/c1").json()
    service.client.delete("/v1/conversations/c1/messages/m-0", headers=AUTH)
    service.post("/v1/conversations/c1/complete", {"outcome": "successful"})

    body = service.get("/v1/context/stats/c1").json()

    assert (before["message_count"], before["total_tokens"]) == (10, 10 * COST)
    assert (body["message_count"], body["total_tokens"]) == (9, 9 * COST)
    assert (body["event_count"], body["changes"]) == (13, 1)
    assert (body["user_id"], body["outcome"]) == ("u", "successful")


@pytest.mark.parametrize("path", ["stats", "compression"])
def test_an_unknown_conversation_is_missing(service: Service, path: str) -> None:
    refused(service.get(f"/v1/context/{path}/nobody"), 404, "CONVERSATION_NOT_FOUND")
    refused(service.replay("nobody"), 404, "CONVERSATION_NOT_FOUND")
    refused(service.replay("nobody", resume_from_snapshot=True), 404, "CONVERSATION_NOT_FOUND")
    asked = {"conversation_id": "nobody", "message_ids": ["m"]}
    refused(service.post("/v1/context/expand", asked), 404, "CONVERSATION_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"compression_strategy": "best"}, "compression_strategy"),
        ({"recall": 0}, "recall"),
        ({"recall": 1.1}, "recall"),
        ({"pins": ["x"] * 1001}, "pins"),
        ({"pin_last": -1}, "pin_last"),
        ({"query": "x" * 5000}, "query"),
        ({"summarise": 1}, "summarise"),
        ({"since": "now"}, "since"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_bad_request_is_refused_by_field(
    service: Service, body: dict[str, Any], field: str
) -> None:
    assert refused(service.replay(**body), 400, "INVALID_REQUEST")["field"] == field
    assert not service.log.records


class Model:
    """A model that says what it is told to."""

    model = "teller-1"

    def __init__(self, says: str | Exception) -> None:
        self.says = says

    async def summarise(self, text: str, *, tokens_max: int) -> str:
        assert text
        assert tokens_max
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


def with_a_model(says: str | Exception) -> AbstractContextManager[Service]:
    return serving(replace(in_memory(), summariser=Model(says)))


ASKED: dict[str, Any] = {
    "max_tokens": 20 * COST,
    "compression_strategy": "hybrid",
    "summarise": True,
}
SUMMARY = "They went through the lines one by one and found that each of them costs the same."


def test_a_summary_stands_for_what_it_cites() -> None:
    with with_a_model(SUMMARY) as service:
        service.say(*(line(number) for number in range(40)))

        body = service.replayed(**ASKED)
        made = service.get("/v1/context/compression/c1").json()["compressions"]

        assert contents(body) == [SUMMARY, line(38), line(39)]
        assert body["messages"][0]["metadata"]["cites"] == [f"m-{n}" for n in range(38)]
        assert body["messages"][0]["metadata"]["custom"] == {}
        assert body["messages"][1]["metadata"]["cites"] is None
        assert body["total_tokens"] <= ASKED["max_tokens"]
        assert body["compression_stats"]["llm_model"] == made[0]["llm_model"] == "teller-1"
        assert body["receipt"]["kept"] == ["m-38", "m-39"]
        assert body["receipt"]["summary_refused"] is None


@pytest.mark.parametrize("says", ["", "long " * 500, UnavailableError("summariser", "it is away")])
def test_an_unfit_summary_leaves_the_turns_and_says_why(says: str | Exception) -> None:
    with with_a_model(says) as service:
        service.say(*(line(number) for number in range(40)))

        body = service.replayed(**ASKED)

        assert len(body["messages"]) == 20
        assert body["receipt"]["summary_refused"]
        assert body["compression_stats"]["llm_model"] == ""


def test_what_fits_is_not_summarised() -> None:
    with with_a_model(SUMMARY) as service:
        ten(service)

        assert "fits" in service.replayed(**ASKED)["receipt"]["summary_refused"]


def test_a_summary_without_a_model_is_refused(service: Service) -> None:
    ten(service)

    assert refused(service.replay(**ASKED), 400, "INVALID_REQUEST")["field"] == "summarise"


def test_background_work_that_fails_is_let_go(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail() -> None:
        raise UnavailableError("kafka")

    async def scenario() -> None:
        background = Background()
        background.start(fail(), name="telling")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(scenario())

    assert "telling" in capsys.readouterr().out


def test_background_work_is_bounded() -> None:
    started: list[int] = []

    async def work(number: int) -> None:
        started.append(number)
        await asyncio.sleep(0)

    async def scenario() -> None:
        background = Background()
        for number in range(TASKS_MAX + 5):
            background.start(work(number), name="work")
        await asyncio.sleep(0)

    asyncio.run(scenario())

    assert started == list(range(TASKS_MAX))
