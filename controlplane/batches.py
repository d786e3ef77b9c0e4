"""Batches: many events in one body, each judged on its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from controlplane.bodies import NDJSON, Strict, refused
from controlplane.drafts import Place, added, began, content, counted, deleted, edited, ended
from controlplane.edge import Stamp, Write, earlier, publish_rest, reused
from helix.client.wire import (
    EVENTS_MAX,
    BatchAccepted,
    BatchedBeginning,
    BatchedDeletion,
    BatchedEdit,
    BatchedEnd,
    BatchedMessage,
    NewEvent,
    NewEvents,
    Refusal,
    Verdict,
)
from helix.errors import HelixError, InvalidError
from helix.events import ConversationEvent
from helix.ports import Receipt

INVALID = "INVALID_REQUEST"

_all = msgspec.json.Decoder(list[NewEvent])
_one = msgspec.json.Decoder(NewEvent)
_raw = msgspec.json.Decoder(list[msgspec.Raw])

Draft = NewEvent | HelixError
Made = ConversationEvent | HelixError


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of one body, in its order; in place of one that cannot be, the reason."""

    drafts: Sequence[Draft]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch, and the last receipt of each conversation in it."""

    answer: BatchAccepted
    last: dict[str, Receipt]


class Batched(Strict):
    """Bodies of many events: decoded at once, or one by one where one of them is wrong."""

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Nothing to remember: the decoders are this module's."""
        del field_definition, handler_id, backend_cls

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """The list of events is the body's schema."""
        del field_definition, handler_id
        return schema_creator.for_field_definition(FieldDefinition.from_annotation(NewEvents))

    def decode_bytes(self, value: bytes) -> Any:
        """The batch; `InvalidError` where the body as a whole is none."""
        kind = self.asgi_connection.headers.get("content-type", "")
        return batch(value, lines=kind.startswith(NDJSON))


def batch(body: bytes, *, lines: bool) -> Batch:
    """The events of the body; `InvalidError` where it is no list, empty or too long."""
    try:
        drafts: Sequence[Draft] = _one.decode_lines(body) if lines else _all.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        drafts = [_decoded(part) for part in _parts(body, lines=lines)]
    if not 0 < len(drafts) <= EVENTS_MAX:
        raise InvalidError(
            f"`body` holds {len(drafts)} events: send 1 to {EVENTS_MAX} at once", field="body"
        )
    return Batch(drafts)


async def published(write: Write, given: Batch) -> Outcome:
    """Every event that can be is in the log, in one go; `InvalidError` where none can."""
    made = await _made(write, given.drafts)
    first = await earlier(write, [event for event in made if not isinstance(event, HelixError)])
    judged = [
        event if isinstance(event, HelixError) else reused(event, first) or event for event in made
    ]
    good = [event for event in judged if not isinstance(event, HelixError)]
    if not good:
        raise _none_of(judged)
    receipts = await publish_rest(write, good, first)
    by_id = {receipt.event_id: receipt for receipt in receipts}
    verdicts = [_verdict(index, event, by_id) for index, event in enumerate(judged)]
    answer = BatchAccepted(
        accepted=len(good),
        rejected=len(judged) - len(good),
        topic=receipts[0].topic,
        events=verdicts,
    )
    last = {event.conversation_id: receipt for event, receipt in zip(good, receipts, strict=True)}
    return Outcome(answer, last)


def _parts(body: bytes, *, lines: bool) -> Sequence[bytes | msgspec.Raw]:
    if lines:
        return [line for line in body.splitlines() if line.strip()]
    try:
        return _raw.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused(error) from error


def _decoded(part: bytes | msgspec.Raw) -> Draft:
    try:
        return _one.decode(part)
    except RecursionError:
        return InvalidError("it nests too deeply: flatten it", field="")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return refused(error)


async def _made(write: Write, drafts: Sequence[Draft]) -> list[Made]:
    checked = [_checked(draft) for draft in drafts]
    texts = [_text(draft) for draft in checked]
    tokens = await counted(texts)
    body = [None if isinstance(draft, HelixError) else draft for draft in drafts]
    stamp = write.stamp("events/batch", body)
    return _once_each(
        [
            _event(stamp, draft, tokens=tokens[index], index=index)
            for index, draft in enumerate(checked)
        ]
    )


def _once_each(events: list[Made]) -> list[Made]:
    """The same events; one whose name another had before it becomes its refusal."""
    seen: set[str] = set()
    for index, event in enumerate(events):
        if isinstance(event, HelixError) or not event.request:
            continue
        if event.event_id in seen:
            twice = "`message.message_id` occurs twice in this batch: give each its own"
            events[index] = InvalidError(twice, field="message.message_id")
        seen.add(event.event_id)
    return events


def _checked(draft: Draft) -> Draft:
    try:
        if isinstance(draft, BatchedMessage):
            content(draft.message, "message.")
        elif isinstance(draft, BatchedEdit):
            content(draft)
    except InvalidError as error:
        return error
    return draft


def _text(draft: Draft) -> str:
    if isinstance(draft, BatchedMessage):
        return draft.message.content
    return draft.content if isinstance(draft, BatchedEdit) else ""


def _event(stamp: Stamp, draft: Draft, *, tokens: int, index: int) -> Made:
    try:
        match draft:
            case HelixError():
                return draft
            case BatchedMessage():
                return added(
                    stamp, draft.conversation_id, draft.message, tokens=tokens, index=index
                )
            case BatchedBeginning():
                return began(stamp, stamp.named(index), draft.conversation_id, draft)
            case BatchedEnd():
                named = stamp.named(index)
                return ended(stamp, named, draft.conversation_id, draft.outcome)
            case BatchedEdit() | BatchedDeletion():
                return _change(stamp, draft, tokens=tokens, index=index)
    except InvalidError as error:
        return error


def _change(
    stamp: Stamp, draft: BatchedEdit | BatchedDeletion, *, tokens: int, index: int
) -> ConversationEvent:
    named, place = stamp.named(index), Place(draft.conversation_id, draft.message_id)
    if isinstance(draft, BatchedEdit):
        return edited(stamp, named, place, draft.content, tokens)
    return deleted(stamp, named, place)


def _verdict(index: int, event: Made, places: Mapping[str, Receipt]) -> Verdict:
    if isinstance(event, HelixError):
        return Verdict(index=index, accepted=False, error=_refusal(event))
    place = places[event.event_id]
    return Verdict(
        index=index,
        accepted=True,
        event_id=place.event_id,
        partition=place.partition,
        offset=place.offset,
    )


def _refusal(error: HelixError) -> Refusal:
    return Refusal(
        code=str(error.details.get("code", INVALID)),
        message=error.message,
        field=str(error.details.get("field", "")),
    )


def _none_of(judged: Sequence[Made]) -> HelixError:
    """The refusal of a batch of which nothing was accepted, with every reason."""
    reasons = [
        Verdict(index=index, accepted=False, error=_refusal(error))
        for index, error in enumerate(judged)
        if isinstance(error, HelixError)
    ]
    first = reasons[0].error
    message, field = (first.message, first.field) if first else ("", "")
    return InvalidError(
        f"none of the {len(reasons)} events is accepted; the first: {message}",
        code="NO_EVENT_ACCEPTED",
        field=f"[0].{field}" if field else "[0]",
        events=reasons,
    )
