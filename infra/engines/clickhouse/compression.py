"""Bodies as HTTP clients compress them: lz4, zstd, gzip, deflate, both ways and in pieces."""

import zlib
from collections.abc import Callable
from typing import Protocol, cast

import lz4.frame
import zstandard

from infra.engines.clickhouse.errors import CANNOT_DECOMPRESS, UNKNOWN_COMPRESSION, failure

Feed = Callable[[bytes], bytes]

GZIP_WINDOW = 31
ZLIB_WINDOW = 15
ZLIB_LEVEL = 3
ZSTD_LEVEL = 1


class Frame(Protocol):
    """One compressed frame being read; every library of ours offers this much."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, /) -> bytes: ...


FRAMES: dict[str, Callable[[], Frame] | None] = {
    "": None,
    "identity": None,
    # Its attributes have no types: `eof` is a bool, `unused_data` bytes or None.
    "lz4": lambda: cast("Frame", lz4.frame.LZ4FrameDecompressor()),
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
    "gzip": lambda: zlib.decompressobj(GZIP_WINDOW),
    "deflate": lambda: zlib.decompressobj(ZLIB_WINDOW),
}


class Decoder:
    """What the pieces of a body hold; frames may stand back to back and be cut anywhere."""

    def __init__(self, encoding: str) -> None:
        if encoding not in FRAMES:
            raise failure(
                UNKNOWN_COMPRESSION,
                f"Unknown compression method `{encoding}`; use lz4, zstd, gzip or deflate",
            )
        self._open = FRAMES[encoding]
        self._frame: Frame | None = None

    def feed(self, piece: bytes) -> bytes:
        """What the piece adds."""
        if self._open is None:
            return piece
        out: list[bytes] = []
        while piece:
            frame = self._frame = self._frame or self._open()
            try:
                out.append(frame.decompress(piece))
            except (RuntimeError, zlib.error, zstandard.ZstdError) as error:
                raise failure(
                    CANNOT_DECOMPRESS, f"The body cannot be decompressed: {error}"
                ) from error
            piece = b""
            if frame.eof:
                piece, self._frame = frame.unused_data or b"", None
        return b"".join(out)

    def end(self) -> None:
        """Refuse a body that stops in the middle of a frame: rows would be missing."""
        if self._frame is not None:
            raise failure(CANNOT_DECOMPRESS, "The compressed body is cut off; send it again")


class Encoder:
    """The first encoding of `Accept-Encoding` that is known here; none leaves bytes as they are."""

    def __init__(self, accept: str) -> None:
        self.name = ""
        self._feed: Feed = bytes
        self._flush: Callable[[], bytes] = bytes
        self._head = b""
        wanted = (item.split(";")[0].strip() for item in accept.split(","))
        known = {
            "lz4": self._lz4,
            "zstd": self._zstd,
            "gzip": lambda: self._zlib(GZIP_WINDOW),
            "deflate": lambda: self._zlib(ZLIB_WINDOW),
        }
        for name in wanted:
            if name in known:
                self.name = name
                known[name]()
                return

    def feed(self, piece: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + self._feed(piece)

    def end(self) -> bytes:
        head, self._head = self._head, b""
        return head + self._flush()

    def _lz4(self) -> None:
        frame = lz4.frame.LZ4FrameCompressor()
        self._feed, self._flush, self._head = frame.compress, frame.flush, bytes(frame.begin())

    def _zstd(self) -> None:
        frame = zstandard.ZstdCompressor(ZSTD_LEVEL).compressobj()
        self._feed, self._flush = frame.compress, frame.flush

    def _zlib(self, window: int) -> None:
        frame = zlib.compressobj(ZLIB_LEVEL, zlib.DEFLATED, window)
        self._feed, self._flush = frame.compress, frame.flush
