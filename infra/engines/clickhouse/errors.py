"""ClickHouse's errors: a code, a text in the server's own form, an HTTP status."""

import re
from http import HTTPStatus

CODE = re.compile(r"Code: (\d+)\..*", re.DOTALL)

NOT_IMPLEMENTED = (48, "NOT_IMPLEMENTED")
SYNTAX_ERROR = (62, "SYNTAX_ERROR")
UNKNOWN_COMPRESSION = (89, "UNKNOWN_COMPRESSION_METHOD")
UNKNOWN_SETTING = (115, "UNKNOWN_SETTING")
CANNOT_DECOMPRESS = (271, "CANNOT_DECOMPRESS")
READONLY = (164, "READONLY")
TOO_MANY_QUERIES = (202, "TOO_MANY_SIMULTANEOUS_QUERIES")
QUERY_IS_TOO_LARGE = (307, "TOO_MANY_BYTES")
SESSION_NOT_FOUND = (372, "SESSION_NOT_FOUND")
SESSION_IS_LOCKED = (373, "SESSION_IS_LOCKED")
BAD_REQUEST = (1000, "POCO_EXCEPTION")
UNKNOWN_EXCEPTION = (1002, "UNKNOWN_EXCEPTION")
ACCESS_DENIED = (497, "ACCESS_DENIED")
AUTHENTICATION_FAILED = (516, "AUTHENTICATION_FAILED")

# The server's own table, HTTPHandler: what is not named here is 500.
_STATUS = {
    HTTPStatus.BAD_REQUEST: (
        *(6, 9, 16, 26, 27, 33, 36, 38, 41, 44, 53, 62, 69, 70, 72, 117, 130, 131, 321, 386),
        *(271, 427, 441, 457, 1000),
    ),
    HTTPStatus.UNAUTHORIZED: (194,),
    HTTPStatus.FORBIDDEN: (192, 193, 497, 516),
    HTTPStatus.NOT_FOUND: (46, 47, 50, 56, 60, 63, 73, 81, 115, 336, 511),
    HTTPStatus.REQUEST_TIMEOUT: (159,),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (307,),
    HTTPStatus.NOT_IMPLEMENTED: (48,),
    HTTPStatus.SERVICE_UNAVAILABLE: (202, 209, 210),
}
STATUS = {code: status for status, codes in _STATUS.items() for code in codes}


class ClickHouseError(Exception):
    """What the server would have said: a code and a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def status(self) -> int:
        """The HTTP status of an answer that consists of this error alone."""
        return STATUS.get(self.code, HTTPStatus.INTERNAL_SERVER_ERROR)

    def line(self, version: str) -> str:
        """The text as the server sends it: one line feed at the end, never inside the tail."""
        return f"{self.text.rstrip()} (version {version} (embedded))\n"


def failure(kind: tuple[int, str], message: str) -> ClickHouseError:
    """An error of ours in the server's form."""
    code, name = kind
    return ClickHouseError(code, f"Code: {code}. DB::Exception: {message} ({name})")


def from_engine(error: Exception) -> ClickHouseError:
    """The engine's error with its code; whatever carries none is `UNKNOWN_EXCEPTION`."""
    found = CODE.search(str(error))
    if found is None:
        return failure(UNKNOWN_EXCEPTION, str(error) or type(error).__name__)
    return ClickHouseError(int(found[1]), found[0])
