"""HTTP on the wire: what is no request of ours is refused in the envelope too, and in bounds."""

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from controlplane.instants import instant
from helix.client.wire import Failure, Refused
from helix.ports import Clock

HEAD_BYTES_MAX = 64 * 1024  # request line and headers; what one read brings beyond that is kept


def bounded(clock: Clock) -> type[HttpToolsProtocol]:
    """The protocol of a server that tells the time by that clock."""

    class Bounded(HttpToolsProtocol):
        """uvicorn's protocol with a bound on the head of a request."""

        _head_bytes = 0
        _in_head = True

        def data_received(self, data: bytes) -> None:
            """Read on, unless the head goes on and on."""
            if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
                self.send_400_response("the head of the request is too large")
                return
            self._head_bytes += len(data)
            super().data_received(data)

        def on_headers_complete(self) -> None:
            """The head is over: what follows is the body, which the application bounds."""
            self._in_head = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            """The next thing on this connection is a head again."""
            self._in_head, self._head_bytes = True, 0
            super().on_message_complete()

        def send_400_response(self, msg: str) -> None:
            """The envelope, and the end of the connection: nothing after it can be understood."""
            failure = Failure(
                code="INVALID_REQUEST",
                message=f"{msg.rstrip('.')}: send another, or a smaller one",
                details={"field": "request"},
                timestamp=instant(clock()),
            )
            body = msgspec.json.encode(Refused(error=failure))
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\n"
                b"content-type: application/json\r\n"
                b"content-length: %d\r\n"
                b"connection: close\r\n\r\n%s" % (len(body), body)
            )
            self.transport.close()

    return Bounded
