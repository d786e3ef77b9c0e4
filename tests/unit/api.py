"""The REST API over a world in memory, with a client that has a key."""

from typing import Any, cast

from litestar import Litestar
from litestar.testing import TestClient

from helix.adapters import fakes
from helix.adapters.probes import Check
from helix.errors import UnavailableError
from helix.ports import Credential, World
from helix.settings import Http, Secret, Settings, Stack

SETTINGS = Settings(stack=Stack(api_key=Secret("all")), http=Http(metrics_token=Secret("scrapes")))


AUTH = {"Authorization": "Bearer all"}


SCRAPER = {"Authorization": "Bearer scrapes"}


KEYS = {
    "all": Credential("k-all", "acme", frozenset({"read", "write"})),
    "reader": Credential("k-reader", "acme", frozenset({"read"})),
    "writer": Credential("k-writer", "acme", frozenset({"write"})),
    "root": Credential("k-root", "acme", frozenset({"admin"})),
    "other": Credential("k-other", "globex", frozenset({"read", "write"})),
}


HELLO = {"role": "user", "content": "hello there", "message_id": "m1"}


class Service:
    """The application, what it stands on, and a client that has a key."""

    def __init__(self, client: TestClient[Litestar], world: World) -> None:
        self.client = client
        self.log = cast("fakes.FakeLog", world.log)
        self.warm = cast("fakes.FakeEvents", world.events)
        self.states = cast("fakes.FakeStates", world.conversations)
        self.cache = cast("fakes.FakeCache", world.cache)

    def post(self, path: str, body: object, **headers: str) -> Any:
        return self.client.post(path, json=body, headers={**AUTH, **headers})

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers={**AUTH, **headers})

    def replay(self, conversation_id: str = "c1", **body: object) -> Any:
        return self.post("/v1/context/replay", {"conversation_id": conversation_id, **body})


def asked(check: Check) -> str:
    if check.service == "neo4j":
        raise UnavailableError("neo4j", "`neo4j` at 127.0.0.1:7687: refused")
    return f"asked {check.kind}"


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """The error of an answer that must be in the envelope."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "details", "timestamp"}
    assert error["code"] == code
    return error
