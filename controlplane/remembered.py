"""What a replay leaves behind for the next: all events up to a position, packed, for a while."""

import asyncio
from contextlib import suppress

import msgspec
import zstandard

from helix.domain.ids import log_key
from helix.domain.positions import Position, Stored
from helix.errors import UnavailableError
from helix.ports import Cache

EVENTS_MIN = 1_000  # of fewer, the warm copy gives all in about the same time
NEW_EVENTS_MIN = 500  # so many more make it worth packing all of them again
BYTES_MAX = 4 * 1024 * 1024  # packed
UNPACKED_BYTES_MAX = 64 * 1024 * 1024
KEPT_S = 600
LEVEL = 1  # packs fastest; the text shrinks to about a fifth


class Base(msgspec.Struct, frozen=True, array_like=True):
    """Every event below a position, in order, each once.

    Events rather than the transcript they make: later ones may repeat, edit or take back any of
    them, and one function folds both.
    """

    upto: Position
    events: list[Stored]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Base)


def key(tenant: str, conversation_id: str) -> str:
    """Where the cache keeps it; the number rises when the form changes."""
    return f"{log_key(tenant, conversation_id)}/replay/1"


def worthwhile(events: int, remembered: int) -> bool:
    """Whether to keep so many events where the cache holds the first of them already."""
    new = events - remembered
    return events >= EVENTS_MIN and (not remembered or new >= NEW_EVENTS_MIN)


async def find(cache: Cache, name: str) -> Base | None:
    """What is kept under that key; None also where the cache is away or holds something else."""
    try:
        found = (await cache.get([name]))[0]
    except UnavailableError:
        return None
    return None if found is None else await asyncio.to_thread(_unpacked, found)


async def keep(cache: Cache, name: str, base: Base) -> None:
    """Keep it for a while, unless it is large or the cache is away."""
    packed = await asyncio.to_thread(_packed, base)
    if len(packed) > BYTES_MAX:
        return
    with suppress(UnavailableError):  # health tells; the next replay reads the store again
        await cache.put({name: packed}, ttl_s=KEPT_S)


def _packed(base: Base) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(_encoder.encode(base))


def _unpacked(packed: bytes) -> Base | None:
    try:
        plain = zstandard.ZstdDecompressor().decompress(packed, max_output_size=UNPACKED_BYTES_MAX)
        return _decoder.decode(plain)
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
