"""Microseconds since 1970 UTC, as people and clients read them."""

from datetime import UTC, datetime, timedelta

from helix.errors import InvalidError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def instant(microseconds: int) -> datetime:
    """That moment, in UTC."""
    return EPOCH + timedelta(microseconds=microseconds)


def microseconds(moment: datetime, *, field: str) -> int:
    """Whole microseconds since 1970; `InvalidError` naming the field outside 1970 to 2200."""
    if not EPOCH <= moment <= LATEST:
        raise InvalidError(
            f"`{field}` lies outside 1970 to 2200: give the time of the message", field=field
        )
    return (moment - EPOCH) // timedelta(microseconds=1)
