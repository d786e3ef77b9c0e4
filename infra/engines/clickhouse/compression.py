"""Bodies as HTTP clients compress them: lz4, zstd, gzip, deflate, both ways and in pieces."""

import zlib
from collections.abc import Callable

import lz4.frame
import zstandard

from infra.engines.clickhouse.errors import UNKNOWN_COMPRESSION, failure

Feed = Callable[[bytes], bytes]

GZIP_WINDOW = 31
ZLIB_WINDOW = 15
ZLIB_LEVEL = 3
ZSTD_LEVEL = 1


def decoder(encoding: str) -> Feed:
    """A function that takes a body's pieces and gives back what they hold."""
    match encoding:
        case "" | "identity":
            return bytes
        case "lz4":
            return _Lz4Frames().feed
        case "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress
        case "gzip":
            return zlib.decompressobj(GZIP_WINDOW).decompress
        case "deflate":
            return zlib.decompressobj(ZLIB_WINDOW).decompress
        case _:
            raise failure(
                UNKNOWN_COMPRESSION,
                f"Unknown compression method `{encoding}`; use lz4, zstd, gzip or deflate",
            )


class _Lz4Frames:
    """Several LZ4 frames back to back, as clickhouse-connect sends data frames."""

    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameDecompressor()

    def feed(self, piece: bytes) -> bytes:
        out: list[bytes] = []
        while piece:
            if self._frame.eof:
                self._frame = lz4.frame.LZ4FrameDecompressor()
            out.append(self._frame.decompress(piece))
            piece = bytes(self._frame.unused_data or b"") if self._frame.eof else b""
        return b"".join(out)


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
