"""The summariser adapter against a server that misbehaves in every way a model's server can."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from helix.adapters.summariser import ANSWER_BYTES_MAX, ChatSummariser
from helix.domain.compression import compress
from helix.domain.summaries import Plan, Refusal, concluded, planned
from helix.errors import UnavailableError
from helix.events import Message
from helix.settings import Secret, Summariser

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

ANSWER_S_MAX = 0.5
Given = tuple[int, bytes]
HANG: Given = (0, b"")


def completion(content: str | None) -> bytes:
    message = {"role": "assistant", "content": content}
    return json.dumps({"choices": [{"message": message}]}).encode()


@dataclass
class Model:
    """A server that gives those answers in turn, the last one again and again."""

    answers: list[Given]
    asked: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client gave up, as some tests want
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1])
            for line in head.splitlines()
            if line.lower().startswith("content-length")
        )
        self.asked.append((head, await reader.readexactly(length)))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not status:
            await reader.read()  # until the client hangs up
            return
        lines = (f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close")
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        await writer.drain()


def told(model: Model, ask: Callable[[ChatSummariser], Awaitable[str]]) -> str:
    """What the adapter makes of that model's answers."""

    async def run() -> str:
        server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = Summariser(
            url=f"http://127.0.0.1:{port}/",
            model="small",
            key=Secret("k"),
            answer_s_max=ANSWER_S_MAX,
        )
        adapter = ChatSummariser(settings)
        try:
            return await ask(adapter)
        finally:
            await adapter.close()
            server.close()
            await server.wait_closed()

    return asyncio.run(run())


def summary(*answers: Given, model: Model | None = None) -> str:
    return told(
        model or Model(list(answers)), lambda one: one.summarise("what was said", tokens_max=40)
    )


def test_a_summary_comes_back_as_the_model_wrote_it() -> None:
    model = Model([(200, completion(" As written. "))])

    assert summary(model=model) == " As written. "
    head, body = model.asked[0]
    assert head.startswith("POST /v1/chat/completions ")
    assert "authorization: bearer k" in head.lower()
    asked = json.loads(body)
    assert (asked["model"], asked["max_tokens"]) == ("small", 40)
    assert asked["messages"][1] == {"role": "user", "content": "what was said"}


@pytest.mark.parametrize("body", [completion(""), completion(None), b'{"choices": []}'])
def test_an_answer_without_text_is_an_empty_summary(body: bytes) -> None:
    assert summary((200, body)) == ""


def test_a_server_error_is_asked_again_once() -> None:
    model = Model([(500, b"{}"), (200, completion("second"))])

    assert summary(model=model) == "second"
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    ("answer", "tries", "reason"),
    [
        ((500, b"{}"), 2, "it answered 500"),
        ((429, b"{}"), 1, "it answered 429"),
        (HANG, 1, "no answer within 0.5 s"),
        ((200, b"<html>"), 1, "no chat completion"),
        ((200, b'{"choices": 1}'), 1, "no chat completion"),
        ((200, b" " * (ANSWER_BYTES_MAX + 1)), 1, "larger than"),
    ],
)
def test_a_model_that_gives_no_summary_is_unavailable(
    answer: Given, tries: int, reason: str
) -> None:
    model = Model([answer])

    with pytest.raises(UnavailableError, match=reason):
        summary(model=model)

    assert len(model.asked) == tries


def test_a_model_that_is_away_is_unavailable() -> None:
    adapter = ChatSummariser(Summariser(url="http://127.0.0.1:1", model="m"))

    with pytest.raises(UnavailableError, match="`summariser` is unavailable"):
        asyncio.run(adapter.summarise("x", tokens_max=9))


HISTORY = [
    Message(message_id=f"m{index}", role="user", content=content, tokens=30)
    for index, content in enumerate(("We agreed on 1,200 for OPS-42.", "yes", "so", "next?"))
]


@pytest.mark.parametrize(
    ("content", "tokens", "code"),
    [
        ("", 0, "EMPTY"),
        ("They agreed on 1,200 for OPS-42.", 41, "TOO_LONG"),
        ("They agreed on much for OPS-42.", 20, "PINS_LOST"),
    ],
)
def test_an_unfit_summary_leaves_the_extractive_result(
    content: str, tokens: int, code: str
) -> None:
    plan = planned(HISTORY, 100)
    assert isinstance(plan, Plan)
    written = told(
        Model([(200, completion(content))]),
        lambda one: one.summarise(plan.text, tokens_max=plan.summary_tokens_max),
    )

    judged = concluded(plan, written, tokens=tokens, message_id="s")
    result = compress(HISTORY, 100, strategy="hybrid") if isinstance(judged, Refusal) else judged

    assert isinstance(judged, Refusal)
    assert judged.code == code
    assert len(result.kept) == 3
