"""Five errors, each named by what its reader must do next."""


class HelixError(Exception):
    """Base of the five: carries what an answer or a log line needs beside the message."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidError(HelixError):
    """The input is wrong and stays wrong: answer 400, bury the event."""


class MissingError(HelixError):
    """The thing asked for does not exist: answer 404, skip the event."""


class ConflictError(HelixError):
    """The state moved on since it was read: answer 409, fetch again."""


class UnavailableError(HelixError):
    """A dependency is away: answer 503 naming the service, retry."""

    def __init__(self, service: str, message: str = "", **details: object) -> None:
        super().__init__(message or f"`{service}` is unavailable", service=service, **details)
        self.service = service


class TopologyError(HelixError):
    """The catalogue or the settings do not hold: stop the process."""
