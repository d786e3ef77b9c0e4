"""Two tenants that gave everything the same ids: what each route of the API says to each."""

from dataclasses import dataclass
from typing import Any

import httpx

from helix.client.rest import Client
from helix.client.wire import NewConversation, NewMessage

CONVERSATION, MESSAGE, USER = "same-conversation", "m0", "same-user"
ANSWER_S_MAX = 35.0

# What each writing route is sent; nothing here is a secret of either tenant.
BODIES: dict[tuple[str, str], Any] = {
    ("post", "/v1/conversations"): {"user_id": USER, "conversation_id": CONVERSATION},
    ("post", "/v1/conversations/{conversation_id}/messages"): {
        "role": "user",
        "content": "hello",
        "message_id": "m-new",
    },
    ("post", "/v1/conversations/{conversation_id}/complete"): {"outcome": "successful"},
    ("patch", "/v1/conversations/{conversation_id}/messages/{message_id}"): {"content": "other"},
    ("delete", "/v1/conversations/{conversation_id}/messages/{message_id}"): None,
    ("post", "/v1/context/replay"): {"conversation_id": CONVERSATION},
    ("post", "/v1/context/expand"): {
        "conversation_id": CONVERSATION,
        "message_ids": [MESSAGE, "m1", "m2"],
    },
    ("post", "/v1/events/batch"): [
        {
            "type": "conversation.message.added",
            "conversation_id": CONVERSATION,
            "message": {"role": "user", "content": "hello", "message_id": "m-batch"},
        }
    ],
}
QUERIES = {"/v1/conversations": {"q": "secret"}}


@dataclass
class Tenant:
    """One of the two, what it alone knows, and an id of an event of its own."""

    url: str
    key: str
    secret: str
    event_id: str = ""

    def begin(self, messages: int) -> None:
        """A conversation with secrets wherever a text may stand."""
        with Client(self.url, self.key) as api:
            api.create_conversation(
                NewConversation(
                    user_id=USER,
                    conversation_id=CONVERSATION,
                    title=f"{self.secret} title",
                    metadata={"note": self.secret},
                )
            )
            told = [
                NewMessage(
                    role="user",
                    content=f"{self.secret} says {number}",
                    message_id=f"m{number}",
                    name=self.secret,
                    metadata={"note": self.secret},
                )
                for number in range(messages)
            ]
            self.event_id = api.add_messages(CONVERSATION, told, wait_s=10).event_id

    def asks(self, method: str, path: str, *, event_id: str) -> httpx.Response:
        """What the route answers when it is given the ids that both use, or that event's."""
        named = {"conversation_id": CONVERSATION, "message_id": MESSAGE, "event_id": event_id}
        return httpx.request(
            method,
            self.url + path.format(**named),
            headers={"Authorization": f"Bearer {self.key}", "Idempotency-Key": f"same {path}"},
            params=QUERIES.get(path) if method == "get" else None,
            json=BODIES.get((method, path)),
            timeout=ANSWER_S_MAX,
        )


def routes(url: str) -> list[tuple[str, str]]:
    """Every route of the OpenAPI document, reading ones first; one nobody can call is named."""
    document = httpx.get(f"{url}/schema/openapi.json", timeout=ANSWER_S_MAX).json()
    found = [(method, path) for path, methods in document["paths"].items() for method in methods]
    unknown = [route for route in found if route[0] != "get" and route not in BODIES]
    assert unknown == [], "say in BODIES what to send there"
    return sorted(found, key=lambda route: (route[0] != "get", "context" not in route[1], route))
