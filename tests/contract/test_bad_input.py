"""Whatever is sent to any route, the answer names the fault, and nothing is kept."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from controlplane.app import create
from controlplane.health import Monitor, Probes
from helix.adapters import fakes
from helix.client.wire import Refused
from helix.ports import Credential
from helix.settings import Http, Settings
from helix.topology.catalog import CATALOG

JSON = "application/json"
KEYS = {
    "all": Credential("k-all", "acme", frozenset({"read", "write", "analytics", "admin"})),
    "reader": Credential("k-reader", "acme", frozenset({"read"})),
}
LONG = "x" * 1_000_000
DEEP = b"[" * 100_000 + b"]" * 100_000
BODY_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Operation:
    """One method and path of the API's document."""

    method: str
    path: str
    body: bool
    open: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def filled(self, value: str) -> str:
        """The path with that in place of every parameter."""
        parts = [value if part.startswith("{") else part for part in self.path.split("/")]
        return "/".join(parts)


def service() -> TestClient[Litestar]:
    """The application over a world in memory; nothing is limited, so that every case is heard."""
    world = fakes.world({hashlib.sha256(k.encode()).hexdigest(): KEYS[k] for k in KEYS})
    settings = msgspec.structs.replace(Settings(), http=Http(requests_per_min_max=1_000_000))
    app = create(world, settings, CATALOG, Monitor([], world.clock, Probes()))
    app.state.log = world.log
    return TestClient(app, raise_server_exceptions=False)


def operations() -> list[Operation]:
    """Everything the API's document offers."""
    document = service().get("/schema/openapi.json").json()
    return [
        Operation(method.upper(), path, "requestBody" in told, told.get("security") == [{}])
        for path, item in document["paths"].items()
        for method, told in item.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]


OPERATIONS = operations()
OPEN = {"/health", "/livez", "/readyz"}
KEYED = [row for row in OPERATIONS if row.path not in OPEN]
WRITES = [row for row in KEYED if row.method != "GET" and "/context/" not in row.path]
BODIES = [row for row in OPERATIONS if row.body]
PATHS = [row for row in OPERATIONS if "{" in row.path]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    with service() as client:
        yield client


def kept(client: TestClient[Litestar]) -> int:
    log = cast("fakes.FakeLog", client.app.state.log)
    return sum(len(records) for records in log.records.values())


def refused(client: TestClient[Litestar], row: Operation, path: str, **sent: Any) -> Any:
    """The refusal: 4xx in the envelope; nothing was kept, and the API is still there."""
    headers = {"Authorization": "Bearer all", "Content-Type": JSON, **sent.pop("headers", {})}
    before = kept(client)
    response = client.request(row.method, path, headers=headers, **sent)

    assert 400 <= response.status_code < 500, response.text[:500]
    error = msgspec.json.decode(response.content, type=Refused).error
    assert error.code
    assert error.message
    assert kept(client) == before
    assert client.get("/livez").text == "alive"
    return response


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut short"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"5", id="a number"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b"[]", id="an empty list"),
        pytest.param(b"[5]", id="a list of numbers"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b'{"colour":1}', id="an unknown field"),
        pytest.param(DEEP, id="100,000 levels"),
        pytest.param(b'{"metadata":{"a":' + DEEP + b"}}", id="100,000 levels of metadata"),
        pytest.param(b'{"a":1' + b"0" * 100_000 + b"}", id="a huge number"),
        pytest.param(b'{"\\u0000":1}', id="a NUL in a name"),
        pytest.param(b'{"user_id":"a\\ud800"}', id="half a surrogate"),
    ],
)
@pytest.mark.parametrize("row", BODIES, ids=str)
def test_a_body_that_is_none_of_ours(
    client: TestClient[Litestar], row: Operation, body: bytes
) -> None:
    response = refused(client, row, row.filled("c1"), content=body)

    assert response.status_code == 400
    assert response.json()["error"]["code"] in {"INVALID_REQUEST", "NO_EVENT_ACCEPTED"}


@pytest.mark.parametrize("row", BODIES, ids=str)
def test_a_body_that_is_too_large(client: TestClient[Litestar], row: Operation) -> None:
    body = b'{"content":"' + b"x" * (BODY_BYTES_MAX + 2 * 1024 * 1024) + b'"}'

    response = refused(client, row, row.filled("c1"), content=body)

    assert response.status_code == 413


@pytest.mark.parametrize("row", BODIES, ids=str)
def test_a_body_of_another_type(client: TestClient[Litestar], row: Operation) -> None:
    headers = {"Content-Type": "text/xml"}

    response = refused(client, row, row.filled("c1"), content=b"<a/>", headers=headers)

    assert response.status_code == 415


@pytest.mark.parametrize("value", [LONG[:30_000], "a%00b", "a%0Ab", "%ff%fe"], ids=lambda v: v[:6])
@pytest.mark.parametrize("row", PATHS, ids=str)
def test_a_path_that_names_nothing(
    client: TestClient[Litestar], row: Operation, value: str
) -> None:
    body = b'{"content":"x"}' if row.method == "PATCH" else b'{"role":"user","content":"x"}'
    body = b'{"outcome":"error"}' if row.path.endswith("/complete") else body
    sent = {"content": body} if row.body else {}

    refused(client, row, row.filled(value), **sent)


def bodies() -> Iterator[tuple[Operation, str, bytes]]:
    """Every text of every body, in turn a NUL, far too long, and of another type."""
    wrong: tuple[Any, ...] = ("a\x00b", LONG * 2, 5, ["x"], {"a": 1})
    for row, field, body in texts():
        for value in wrong:
            sent = json.loads(json.dumps(body))
            place = sent[0] if isinstance(sent, list) else sent
            *outer, last = field.split(".")
            for name in outer:
                place = place[name]
            place[last] = value
            yield row, field, json.dumps(sent).encode()


def texts() -> Iterator[tuple[Operation, str, Any]]:
    """Where each text of each body is, in a body that would be fine."""
    fine: dict[str, tuple[Any, tuple[str, ...]]] = {
        "POST /v1/conversations": (
            {"user_id": "u"},
            ("user_id", "conversation_id", "session_id", "title"),
        ),
        "POST /v1/conversations/{conversation_id}/messages": (
            {"role": "user", "content": "x"},
            ("role", "content", "message_id", "name", "model", "created_at"),
        ),
        "PATCH /v1/conversations/{conversation_id}/messages/{message_id}": (
            {"content": "x"},
            ("content",),
        ),
        "POST /v1/conversations/{conversation_id}/complete": ({"outcome": "error"}, ("outcome",)),
        "POST /v1/context/replay": ({"conversation_id": "c1"}, ("conversation_id", "since")),
        "POST /v1/events/batch": (
            [
                {
                    "type": "conversation.message.added",
                    "conversation_id": "c1",
                    "message": {"role": "user", "content": "x"},
                }
            ],
            ("type", "conversation_id", "message.content", "message.name"),
        ),
    }
    rows = {str(row): row for row in OPERATIONS}
    for name, (body, fields) in fine.items():
        for field in fields:
            yield rows[name], field, body


@pytest.mark.parametrize(
    ("row", "field", "body"),
    [
        pytest.param(row, field, body, id=f"{row} {field} {number}")
        for number, (row, field, body) in enumerate(bodies())
    ],
)
def test_a_field_that_cannot_be_is_named(
    client: TestClient[Litestar], row: Operation, field: str, body: bytes
) -> None:
    response = refused(client, row, row.filled("c1"), content=body)

    assert response.json()["error"]["details"]["field"].removeprefix("[0].") == field


@pytest.mark.parametrize("row", KEYED, ids=str)
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer nobody", "Basic all", f"Bearer {LONG}"])
def test_a_wrong_key(client: TestClient[Litestar], row: Operation, given: str) -> None:
    headers = {"Authorization": given}

    response = refused(client, row, row.filled("c1"), headers=headers)

    assert response.status_code == 401


@pytest.mark.parametrize("row", WRITES, ids=str)
def test_a_read_key_on_a_write(client: TestClient[Litestar], row: Operation) -> None:
    headers = {"Authorization": "Bearer reader"}

    response = refused(client, row, row.filled("c1"), headers=headers)

    assert response.status_code == 403


@pytest.mark.parametrize("row", WRITES, ids=str)
@pytest.mark.parametrize("key", ["", " ", "x" * 256, "é", "a b"])
def test_an_idempotency_key_that_is_none(
    client: TestClient[Litestar], row: Operation, key: str
) -> None:
    body = b'{"role":"user","content":"x"}'
    sent = {"content": body} if row.body else {}
    headers = {"Idempotency-Key": key.encode("latin-1")}

    response = refused(client, row, row.filled("c1"), headers=headers, **sent)

    assert response.status_code == 400


@pytest.mark.parametrize("row", [row for row in KEYED if row.method == "GET"], ids=str)
@pytest.mark.parametrize("query", ["page=-1&limit=0&days=99", "page=%00&limit=1e9&days=x"])
def test_a_query_that_cannot_be(client: TestClient[Litestar], row: Operation, query: str) -> None:
    headers = {"Authorization": "Bearer all"}

    response = client.get(f"{row.filled('c1')}?{query}", headers=headers)

    assert response.status_code < 500
    if response.status_code == 400:
        assert response.json()["error"]["details"]["field"] in {"page", "limit", "days"}
