"""A visitor begins a conversation, writes to it, reads it back in every way, and ends it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from helix.client import calls
from helix.client.calls import Call
from helix.client.wire import NewConversation, NewMessage, Replay

MESSAGES = 1_000  # that a visitor writes
BATCHES = 10
BUDGET_TOKENS = 2_000

# By route template, as the control plane and the budgets name them.
BEGIN = "POST /v1/conversations"
ADD = "POST /v1/conversations/{id}/messages"
PAGE = "GET /v1/conversations/{id}/messages"
REPLAY = "POST /v1/context/replay"
STATS = "GET /v1/context/stats/{id}"
COMPLETE = "POST /v1/conversations/{id}/complete"

NO_ANSWER, SERVER_ERROR = 0, 500  # of a status


@dataclass
class Written:
    """How many messages of a conversation were acknowledged, and how many are in doubt."""

    acknowledged: int = 0
    doubtful: int = 0


class Step(msgspec.Struct, frozen=True):
    """One request of a journey, and what is wrong with its answer: nothing, if empty."""

    route: str
    call: Call[Any]
    wrong: Callable[[Any, Written], str] = lambda _, __: ""
    messages: int = 0  # that it writes

    def note(self, status: int, written: Written) -> None:
        """Count its messages by the status of its answer, 0 where none came."""
        if status in self.call.fine:
            written.acknowledged += self.messages
        elif status == NO_ANSWER or status >= SERVER_ERROR:
            written.doubtful += self.messages


def journey(name: str, said: Sequence[NewMessage]) -> list[Step]:
    """Every step of one visitor: the conversation `name`, in which all of that is said."""
    begin = NewConversation(user_id="load", conversation_id=name, title="Under load")
    rows = max(1, len(said) // BATCHES)
    batches = [said[at : at + rows] for at in range(0, len(said), rows)]
    adds = [Step(ADD, calls.add_messages(name, batch), messages=len(batch)) for batch in batches]
    half = len(adds) // 2
    stats = Step(STATS, calls.stats(name))
    # Pages show what the read side has by then, so only replays are held to be complete.
    first = Step(PAGE, calls.messages(name, page=1))
    return [
        Step(BEGIN, calls.create_conversation(begin)),
        *adds[:half],
        stats,
        first,
        *adds[half:],
        Step(REPLAY, calls.replay(name), _incomplete),
        Step(REPLAY, calls.replay(name, max_tokens=BUDGET_TOKENS), _over_budget),
        first,
        stats,
        Step(COMPLETE, calls.complete(name, "successful")),
    ]


def _incomplete(replay: Replay, written: Written) -> str:
    least, back = written.acknowledged, len(replay.messages)
    if least <= back <= least + written.doubtful:
        return ""
    doubt = f" and {written.doubtful} are in doubt" if written.doubtful else ""
    return f"{least} messages were acknowledged{doubt}, {back} came back"


def _over_budget(replay: Replay, _: Written) -> str:
    if replay.total_tokens <= BUDGET_TOKENS:
        return ""
    return f"asked for {BUDGET_TOKENS} tokens at most, got {replay.total_tokens}"


STEPS = len(journey("", [NewMessage(role="user", content="")] * BATCHES))
