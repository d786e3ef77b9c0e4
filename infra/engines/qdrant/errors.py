"""Qdrant's errors: an HTTP status and a text in the server's own words."""

from http import HTTPStatus

# The engine raises plain `Exception`; what it means is told by the start of its text alone.
NOT_FOUND = "No point with id"
INTERNAL = "Service runtime error"


class QdrantError(Exception):
    """What the server would have said."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def wrong(message: str) -> QdrantError:
    """The request is well-formed but cannot be carried out."""
    return QdrantError(HTTPStatus.BAD_REQUEST, f"Wrong input: {message}")


def missing(message: str) -> QdrantError:
    """The thing named by the request does not exist."""
    return QdrantError(HTTPStatus.NOT_FOUND, f"Not found: {message}")


def conflict(message: str) -> QdrantError:
    """The name is taken."""
    return QdrantError(HTTPStatus.CONFLICT, f"Wrong input: {message}")


def malformed(message: str) -> QdrantError:
    """The body is not what this path expects."""
    return QdrantError(HTTPStatus.UNPROCESSABLE_ENTITY, f"Format error in JSON body: {message}")


def unsupported(feature: str) -> QdrantError:
    """The server has it, the embedded engine does not."""
    return QdrantError(
        HTTPStatus.NOT_IMPLEMENTED,
        f"`{feature}` is not served by the embedded engine; leave it out, or run a Qdrant server",
    )


def from_engine(error: Exception) -> QdrantError:
    """The engine's own error with the status the server gives it."""
    text = str(error) or type(error).__name__
    if text.startswith(NOT_FOUND):
        return missing(text)
    if isinstance(error, OSError) or text.startswith(INTERNAL):
        return QdrantError(HTTPStatus.INTERNAL_SERVER_ERROR, text)
    return wrong(text)
