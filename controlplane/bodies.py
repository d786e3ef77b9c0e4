"""Request bodies: decoded once and strictly, straight from the bytes."""

from collections.abc import Generator
from typing import Any, ClassVar

import msgspec
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from controlplane.errors import explained
from helix.errors import InvalidError

DECODER = "decoder"
NDJSON = "application/x-ndjson"
DEPTH_MAX = 32
INTEGER_MAX = 2**63 - 1
METADATA_BYTES_MAX = 64 * 1024


class Strict(AbstractDTO[Any]):
    """Bodies by msgspec alone: `"5"` is no number, and the answer names the field at fault.

    Without it the framework decodes a body into builtins first and converts them leniently.
    """

    _decoders: ClassVar[dict[str, msgspec.json.Decoder[Any]]] = {}

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Remember the decoder of that handler's body."""
        del backend_cls  # nothing is transferred between models
        cls._decoders[handler_id] = msgspec.json.Decoder(field_definition.raw)

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """The body's own type is its schema."""
        del handler_id
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(
        cls, model_type: type[Any]
    ) -> Generator[DTOFieldDefinition, None, None]:
        """Nothing is transferred between models, so there are none."""
        del model_type
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Nothing is transferred between models, so nothing nests."""
        del field_definition
        return False

    def decode_bytes(self, value: bytes) -> Any:
        """The body as the handler's type; `InvalidError` naming the field."""
        handler = self.asgi_connection.route_handler
        decoder: msgspec.json.Decoder[Any] | None = handler.opt.get(DECODER)
        if decoder is None:  # kept with the route: its id is put together at every look
            decoder = handler.opt[DECODER] = self._decoders[handler.handler_id]
        try:
            return decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise refused(error) from error


def refused(error: msgspec.DecodeError | UnicodeDecodeError) -> InvalidError:
    """Our refusal of what could not be decoded, naming the field at fault."""
    reason, field = explained(str(error))
    return InvalidError(f"`{field or 'body'}`: {reason}", field=field or "body")


def storable(metadata: dict[str, Any], *, field: str) -> dict[str, Any]:
    """The same metadata, if every store can hold it; else `InvalidError` naming the field."""
    if not metadata:
        return metadata
    level: list[Any] = [metadata]
    for _ in range(DEPTH_MAX):
        if not level:
            break
        bad = next((text for text in map(_unstorable, level) if text), "")
        if bad:
            raise InvalidError(f"`{field}` holds {bad}: leave it out", field=field)
        level = [inner for value in level for inner in _inner(value)]
    if level:
        raise InvalidError(f"`{field}` nests deeper than {DEPTH_MAX}: flatten it", field=field)
    if len(msgspec.json.encode(metadata)) > METADATA_BYTES_MAX:
        raise InvalidError(f"`{field}` is over {METADATA_BYTES_MAX} bytes: shorten it", field=field)
    return metadata


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


def _unstorable(value: Any) -> str:
    if isinstance(value, str) and "\x00" in value:
        return "a NUL character"
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        return "a number beyond 64 bits"
    return ""
