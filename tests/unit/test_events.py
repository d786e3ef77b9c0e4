"""Facts of the codec."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix.errors import InvalidError
from helix.events import ConversationCreated, decode, encode

HEAD = b'"event_id":"e","tenant":"t","occurred_at":1,"ingested_at":2'
KEYS = st.text(st.sampled_from('\x00a\\u0"\n'), max_size=12)


def created(**fields: Any) -> ConversationCreated:
    event = ConversationCreated(
        event_id="e", tenant="t", occurred_at=1, ingested_at=2, conversation_id="c", user_id="u"
    )
    return msgspec.structs.replace(event, **fields)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"not json", "malformed"),
        (b"", "truncated"),
        (b'{"type":"unheard.of"}', "unheard.of"),
        (b'{"type":"conversation.created",' + HEAD + b"}", "conversation_id"),
        (b'{"type":"conversation.completed",' + HEAD + b',"conversation_id":7}', "conversation_id"),
        (b"\xff\xfe", "malformed"),
        (b'{"type":"conversation.created","event_id":"e","tenant":"t","occurred_at":-1}', ">= 0"),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(data: bytes, named: str) -> None:
    with pytest.raises(InvalidError, match=named):
        decode(data)


@pytest.mark.parametrize("field", ["tenant", "conversation_id", "user_id"])
def test_a_key_with_a_nul_character_is_refused_by_its_name(field: str) -> None:
    event = created(**{field: "a\x00b"})

    with pytest.raises(InvalidError, match=rf"\$\.{field}") as refused:
        decode(encode(event))
    assert refused.value.details == {"field": field}


def test_a_nul_character_is_text_where_no_store_takes_it_for_a_key() -> None:
    event = created(title="a\x00b", metadata={"\x00": "\x00"}, user_id="\\u0000")

    assert decode(encode(event)) == event


@given(tenant=KEYS, conversation_id=KEYS, user_id=KEYS, title=KEYS)
def test_keys_are_refused_exactly_where_their_pattern_would(**fields: str) -> None:
    data = encode(created(**fields))
    keys = [fields[name] for name in ("tenant", "conversation_id", "user_id")]

    if all(re.fullmatch(r"[^\x00]*", key) for key in keys):
        assert decode(data) == created(**fields)
    else:
        with pytest.raises(InvalidError):
            decode(data)
