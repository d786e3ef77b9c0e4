"""The REST API over a world in memory: what is written, what is read back, what is refused."""

import json
import logging

import msgspec
import pytest
from litestar.testing import TestClient

from controlplane.app import ROUTES, create
from controlplane.auth import FIGURES, OPEN, SCOPES
from controlplane.health import Monitor, Probes, Question, questions
from controlplane.placement import instances
from helix.adapters import fakes
from helix.settings import Secret, Settings
from helix.topology.catalog import CATALOG
from tests.unit.api import AUTH, HELLO, SCRAPER, SETTINGS, Service, refused


def test_a_write_is_answered_with_its_place_in_the_log(service: Service) -> None:
    response = service.post("/v1/conversations/c1/messages", HELLO)

    assert response.status_code == 202
    body = response.json()
    assert body["topic"] == "helixagent.conversations"
    assert body["offset"] == 0
    last = {name: body[name] for name in ("event_id", "topic", "partition", "offset")}
    assert body["events"] == [last]


def test_an_event_sent_twice_is_replayed_once(service: Service) -> None:
    key = {"Idempotency-Key": "once"}
    first = service.post("/v1/conversations/c1/messages", [{**HELLO, "message_id": None}], **key)
    again = service.post("/v1/conversations/c1/messages", [{**HELLO, "message_id": None}], **key)

    assert first.json()["event_id"] == again.json()["event_id"]
    assert len(service.replay().json()["messages"]) == 1


def test_a_message_id_alone_makes_a_retry_safe(service: Service) -> None:
    service.post("/v1/conversations/c1/messages", HELLO)
    service.post("/v1/conversations/c1/messages", HELLO)

    assert len(service.replay().json()["messages"]) == 1


def test_an_idempotency_key_gives_the_same_conversation(service: Service) -> None:
    key = {"Idempotency-Key": "begin"}
    first = service.post("/v1/conversations", {"user_id": "u"}, **key).json()
    again = service.post("/v1/conversations", {"user_id": "u"}, **key).json()

    assert first["conversation_id"] == again["conversation_id"]


def test_a_preferred_wait_is_confirmed_only_when_the_write_is_readable(service: Service) -> None:
    shown = service.post("/v1/conversations/c1/messages", HELLO, Prefer="wait=5")
    service.warm.lag = 1
    hidden = service.post("/v1/conversations/c1/messages", [HELLO], Prefer="respond, wait=1")

    assert shown.headers["Preference-Applied"] == "wait=5"
    assert hidden.status_code == 202
    assert "Preference-Applied" not in hidden.headers


def test_pages_lead_to_each_other(service: Service) -> None:
    lines = [{"role": "user", "content": str(n)} for n in range(120)]
    service.post("/v1/conversations/c1/messages", lines)

    response = service.get("/v1/conversations/c1/messages?page=2")

    assert [m["content"] for m in response.json()["messages"]] == [str(n) for n in range(50, 100)]
    assert response.headers["X-Total-Count"] == "120"
    assert 'page=3&limit=50>; rel="next"' in response.headers["Link"]


@pytest.mark.parametrize("path", ["/v1/context/stats/nobody", "/v1/conversations/nobody/messages"])
def test_an_unknown_conversation_is_missing(service: Service, path: str) -> None:
    refused(service.get(path), 404, "CONVERSATION_NOT_FOUND")
    refused(service.replay("nobody"), 404, "CONVERSATION_NOT_FOUND")


def test_a_tenant_never_sees_anothers_conversation(service: Service) -> None:
    service.post("/v1/conversations/c1/messages", HELLO)

    other = {"Authorization": "Bearer other"}

    refused(service.get("/v1/context/stats/c1", **other), 404, "CONVERSATION_NOT_FOUND")
    refused(service.get("/v1/conversations/c1/messages", **other), 404, "CONVERSATION_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "user"}, "content"),
        ({"role": "king", "content": "x"}, "role"),
        ({"role": "user", "content": 5}, "content"),
        ({"role": "user", "content": "a\x00b"}, "content"),
        ({"role": "user", "content": "x", "tokens": "5"}, "tokens"),
        ({"role": "user", "content": "x", "tokens": -1}, "tokens"),
        ({"role": "user", "content": "x", "colour": 1}, "colour"),
        ({"role": "user", "content": "x", "message_id": ""}, "message_id"),
        ({"role": "user", "content": "x", "message_id": "a\nb"}, "message_id"),
        ({"role": "user", "content": "x", "message_id": "a" * 256}, "message_id"),
        ({"role": "user", "content": "x", "created_at": "yesterday"}, "created_at"),
        ({"role": "user", "content": "x", "created_at": "0001-01-01T00:00:00Z"}, "created_at"),
        ({"role": "user", "content": "x", "metadata": {"a": ["b\x00"]}}, "metadata"),
        ({"role": "user", "content": "x", "metadata": {"a": 2**70}}, "metadata"),
        ({"role": "user", "content": "x", "metadata": {"a": "b" * 70_000}}, "metadata"),
        ([{"role": "user", "content": "x"}, {"role": "user"}], "[1].content"),
        ([HELLO, HELLO], "[1].message_id"),
        ({"role": "user", "content": "é" * 600_000}, "content"),
    ],
)
def test_a_bad_message_is_refused_by_field(service: Service, body: object, field: str) -> None:
    error = refused(service.post("/v1/conversations/c1/messages", body), 400, "INVALID_REQUEST")

    assert error["details"]["field"] == field
    assert field in error["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"role":"user","content":"\\ud800"}']
)
def test_a_body_that_is_no_message_is_refused(service: Service, body: bytes) -> None:
    response = service.client.post(
        "/v1/conversations/c1/messages",
        content=body,
        headers={**AUTH, "Content-Type": "application/json"},
    )

    refused(response, 400, "INVALID_REQUEST")


@pytest.mark.parametrize("where", ["%s", '{"role":"user","content":"x","metadata":{"a":%s}}'])
def test_a_body_that_nests_too_deeply_is_refused(service: Service, where: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    response = service.client.post(
        "/v1/conversations/c1/messages",
        content=where % deep,
        headers={**AUTH, "Content-Type": "application/json"},
    )

    refused(response, 400, "INVALID_REQUEST")


def test_a_thousand_messages_is_the_most(service: Service) -> None:
    line = {"role": "user", "content": "x"}

    assert service.post("/v1/conversations/c1/messages", [line] * 1000).status_code == 202
    refused(service.post("/v1/conversations/c1/messages", [line] * 1001), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("query", ["page=0", "page=x", "limit=101", "limit=-1"])
def test_a_bad_page_is_refused_by_field(service: Service, query: str) -> None:
    error = refused(service.get(f"/v1/conversations/c1/messages?{query}"), 400, "INVALID_REQUEST")

    assert error["details"]["field"] == query.partition("=")[0]


def test_an_id_with_control_characters_is_refused(service: Service) -> None:
    refused(service.get("/v1/context/stats/a%00b"), 400, "INVALID_REQUEST")


def test_unknown_paths_and_methods_are_refused_in_the_envelope(service: Service) -> None:
    refused(service.get("/v1/nothing"), 404, "NOT_FOUND")
    refused(service.client.delete("/v1/conversations"), 405, "METHOD_NOT_ALLOWED")


def test_a_body_that_is_too_large_is_refused(service: Service) -> None:
    body = {"role": "user", "content": "x" * (5 * 1024 * 1024)}

    refused(service.post("/v1/conversations/c1/messages", body), 413, "BODY_TOO_LARGE")


def test_a_body_of_another_type_is_refused(service: Service) -> None:
    response = service.client.post(
        "/v1/conversations", content="a=b", headers={**AUTH, "Content-Type": "text/plain"}
    )

    refused(response, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer nobody", "Basic all", "Bearer " + "x" * 999]
)
def test_no_key_no_answer(service: Service, given: str) -> None:
    headers = {"Authorization": given} if given else {}

    response = service.client.get("/v1/topology", headers=headers)

    refused(response, 401, "UNAUTHORIZED")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_without_the_scope_is_forbidden(service: Service) -> None:
    reader, writer = {"Authorization": "Bearer reader"}, {"Authorization": "Bearer writer"}

    refused(service.post("/v1/conversations", {"user_id": "u"}, **reader), 403, "FORBIDDEN")
    refused(service.get("/v1/topology", **writer), 403, "FORBIDDEN")
    assert service.get("/v1/topology", Authorization="Bearer root").status_code == 200


def test_every_route_is_open_by_name_or_guarded() -> None:
    for handler in ROUTES:
        guarded = handler.opt.get(SCOPES) or handler.opt.get(FIGURES)
        assert handler.opt.get(OPEN) or guarded, handler.paths


def test_a_write_while_the_log_is_away_is_unavailable_by_name(service: Service) -> None:
    service.log.away = True

    response = service.post("/v1/conversations/c1/messages", HELLO)

    assert refused(response, 503, "SERVICE_UNAVAILABLE")["details"]["service"] == "kafka"
    assert response.headers["Retry-After"] == "1"


def test_a_crash_shows_no_traceback(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(_: object) -> None:
        raise ZeroDivisionError("the secret of the store")

    monkeypatch.setattr("controlplane.routes.context.messages_of", crash)
    service.post("/v1/conversations/c1/messages", HELLO)
    with caplog.at_level(logging.CRITICAL):
        response = service.replay()

    error = refused(response, 500, "INTERNAL_ERROR")
    assert "secret" not in response.text
    assert response.headers["X-Request-ID"] in error["message"]


def test_a_request_id_is_kept_or_given(service: Service) -> None:
    kept = service.client.get("/livez", headers={"X-Request-ID": "abc-1"})
    given = service.client.get("/nowhere", headers={"X-Request-ID": "bad id"})

    assert kept.headers["X-Request-ID"] == "abc-1"
    assert given.headers["X-Request-ID"].startswith("id-")


def test_figures_are_kept_by_route_template(service: Service) -> None:
    service.get("/v1/context/stats/c1")
    service.get("/nowhere")

    text = service.client.get("/metrics", headers=SCRAPER).text

    assert 'route="/v1/context/stats/{conversation_id}",status="404"' in text
    assert 'helix_http_requests_total{method="GET",route="none",status="404"} 1.0' in text


@pytest.mark.parametrize(
    "shown",
    [b"", b"Bearer ", b"Bearer scrape", b"Bearer scr\xe4pes", b"Basic scrapes", b"Bearer root"],
)
def test_figures_are_for_who_scrapes_them_alone(service: Service, shown: bytes) -> None:
    headers = [(b"authorization", shown)] if shown else []
    response = service.client.get("/metrics", headers=headers)

    refused(response, 401, "UNAUTHORIZED")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_of_the_figures_opens_nothing_else(service: Service) -> None:
    refused(service.client.get("/v1/topology", headers=SCRAPER), 401, "UNAUTHORIZED")


@pytest.mark.parametrize("given", ["", "scrapes"])
def test_without_a_token_in_the_settings_nobody_gets_figures(given: str) -> None:
    world = fakes.world({})
    monitor = Monitor([], world.clock, Probes())
    with TestClient(create(world, Settings(), CATALOG, monitor)) as client:
        response = client.get("/metrics", headers={"Authorization": f"Bearer {given}"})
    monitor.close()

    assert "`HELIX__HTTP__METRICS_TOKEN`" in refused(response, 401, "UNAUTHORIZED")["message"]


def test_health_holds_evidence_for_every_service(service: Service) -> None:
    body = service.get("/v1/bigdata/health").json()

    rows = {row["service"]: row for row in body["services"]}
    assert set(rows) == {row.name for row in CATALOG.services}
    assert body["status"] == "degraded"
    assert rows["neo4j"]["status"] == "unavailable"
    assert rows["neo4j"]["detail"] == "refused"
    assert rows["grafana"]["status"] == "disabled"
    assert rows["workers"]["lag_records"] == {"conversation-events": 3.0}
    assert rows["kafka"]["took_ms"] >= 0
    assert body["components"] == {"infinite_context": "healthy"}


def test_health_in_short_needs_no_key(service: Service) -> None:
    body = service.client.get("/health").json()

    assert body["status"] == "degraded"
    assert body["services"]["kafka"] == "healthy"
    assert body["uptime_seconds"] >= 0


def test_readiness_names_the_blocker(service: Service) -> None:
    assert service.client.get("/readyz").text == "ready"
    service.states.away = True

    response = service.client.get("/readyz")

    assert refused(response, 503, "SERVICE_UNAVAILABLE")["details"]["service"] == "postgres"


def test_the_topology_is_the_catalogue_with_its_live_placement(service: Service) -> None:
    body = service.get("/v1/topology").json()

    assert body["catalogue"] == json.loads(msgspec.json.encode(CATALOG))
    assert body["placement"]["kafka"][0]["ports"]["broker"]["port"] == 9092
    assert "grafana" not in body["placement"]


def test_the_api_describes_itself_without_a_key(service: Service) -> None:
    for path in ("/schema", "/schema/openapi.json"):
        assert "/v1/context/replay" in service.client.get(path).json()["paths"]


def test_questions_carry_credentials_of_the_settings_only() -> None:
    settings = msgspec.structs.replace(
        SETTINGS, redis=msgspec.structs.replace(SETTINGS.redis, password=Secret("s3cret"))
    )
    asked_of = {
        q.service: q for q in questions(CATALOG, settings, instances(CATALOG, settings, None))
    }

    assert asked_of["redis"].check is not None
    assert asked_of["redis"].check.password == "s3cret"
    assert asked_of["grafana"] == Question(
        service="grafana", absent=CATALOG.service("grafana").absent
    )
