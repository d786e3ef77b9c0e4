"""Facts of the codec."""

import pytest

from helix.errors import InvalidError
from helix.events import decode

HEAD = b'"event_id":"e","tenant":"t","occurred_at":1,"ingested_at":2'


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"not json", "malformed"),
        (b"", "truncated"),
        (b'{"type":"unheard.of"}', "unheard.of"),
        (b'{"type":"conversation.created",' + HEAD + b"}", "conversation_id"),
        (b'{"type":"conversation.completed",' + HEAD + b',"conversation_id":7}', "conversation_id"),
        (b"\xff\xfe", "malformed"),
        (
            b'{"type":"conversation.completed",' + HEAD + b',"conversation_id":"a\\u0000"}',
            "regex",
        ),
        (b'{"type":"conversation.created","event_id":"e","tenant":"t","occurred_at":-1}', ">= 0"),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(data: bytes, named: str) -> None:
    with pytest.raises(InvalidError, match=named):
        decode(data)
