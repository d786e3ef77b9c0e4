"""What no client of ours would send, over a real socket to the API of a real stack."""

import contextlib
import socket
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from helix.client.wire import Refused
from tests.integration.running import Running

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

ANSWER_S_MAX = 10
LONG = b"x" * 1_000_000
JSON = b"Content-Type: application/json\r\n"
DEEP = b'{"user_id":"u","metadata":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"


def raw(stack: Running, sent: bytes) -> tuple[int, bytes]:
    """The status and body that come back for those bytes."""
    place = urlsplit(stack.url)
    got = b""
    address = (place.hostname or "", place.port or 0)
    with socket.create_connection(address, timeout=ANSWER_S_MAX) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)  # it may be refused before all of it is there
        while b"\r\n\r\n" not in got or not got.endswith(b"}"):
            part = connection.recv(65_536)
            if not part:
                break
            got += part
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def request(
    stack: Running, method: bytes, path: bytes, more: bytes = b"", body: bytes = b""
) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    key = stack.api_key.encode()
    head = b"%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % (method, path, key)
    return head + more + length + b"\r\n" + body


@pytest.mark.parametrize(
    ("method", "path", "more", "body", "status"),
    [
        pytest.param(b"GET", b"/v1/context/stats/" + LONG, b"", b"", 400, id="a long path"),
        pytest.param(b"GET", b"/v1/conversations?q=" + LONG, b"", b"", 400, id="a long query"),
        pytest.param(b"GET", b"/v1/context/stats/a\x00b", b"", b"", 400, id="a NUL in the path"),
        pytest.param(b"GET", b"/v1/context/stats/a%00b", b"", b"", 400, id="a NUL, escaped"),
        pytest.param(b"GET", b"/v1/context/stats/%ff%fe", b"", b"", 400, id="no text"),
        pytest.param(
            b"GET", b"/v1/topology", b"X-Big: " + LONG + b"\r\n", b"", 400, id="a big head"
        ),
        pytest.param(b"BREW", b"/v1/topology", b"", b"", 400, id="no method"),
        pytest.param(b"POST", b"/v1/conversations", JSON, b'{"a":"' + LONG * 6, 413, id="6 MB"),
        pytest.param(b"POST", b"/v1/conversations", JSON, DEEP, 400, id="100,000 levels"),
        pytest.param(b"POST", b"/v1/conversations", JSON, b"{", 400, id="no JSON"),
        pytest.param(b"POST", b"/v1/conversations", JSON, b'{"colour":1}', 400, id="unknown field"),
        pytest.param(
            b"POST",
            b"/v1/conversations",
            JSON + b"Content-Length: -5\r\n",
            b"",
            400,
            id="no length",
        ),
        pytest.param(b"GET", b"/v1/../../etc/passwd", b"", b"", 404, id="dots"),
    ],
)
def test_it_is_refused_in_the_envelope(
    stack: Running, method: bytes, path: bytes, more: bytes, body: bytes, status: int
) -> None:
    answered, refusal = raw(stack, request(stack, method, path, more, body))

    assert answered == status
    assert msgspec.json.decode(refusal, type=Refused).error.code
    assert httpx.get(f"{stack.url}/livez").text == "alive"


def test_what_is_no_http_is_refused_in_the_envelope(stack: Running) -> None:
    status, refusal = raw(stack, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")

    assert status == 400
    assert msgspec.json.decode(refusal, type=Refused).error.details == {"field": "request"}


def test_a_client_that_leaves_amid_its_body_harms_nobody(stack: Running) -> None:
    place = urlsplit(stack.url)
    with socket.create_connection((place.hostname, place.port), timeout=ANSWER_S_MAX) as connection:
        more = JSON + b"Content-Length: 100\r\n"
        connection.sendall(request(stack, b"POST", b"/v1/conversations", more) + b"{")

    bearer = {"Authorization": f"Bearer {stack.lookup('control-plane-metrics')}"}
    figures = httpx.get(f"{stack.url}/metrics", headers=bearer)
    text = figures.raise_for_status().text

    assert 'route="/v1/conversations",status="500"' not in text
