"""Pages of a list: which rows, and the headers that lead to the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Annotated
from urllib.parse import urlencode

from litestar.params import QueryParameter

from helix.client.wire import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, PAGES_MAX

PageNumber = Annotated[int, QueryParameter(ge=1, le=PAGES_MAX)]
PageLimit = Annotated[int, QueryParameter(ge=1, le=PAGE_ROWS_MAX)]
LIMIT = PAGE_ROWS_DEFAULT


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list of `total` rows."""

    number: int
    limit: int
    total: int

    @property
    def rows(self) -> slice:
        """Where the page's rows are in the list."""
        first = (self.number - 1) * self.limit
        return slice(first, first + self.limit)

    @property
    def last(self) -> int:
        """The number of the last page; an empty list has one."""
        return max(1, ceil(self.total / self.limit))

    def headers(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, str]:
        """Counts, and links to the pages around this one, which ask the same."""
        asked = urlencode({name: value for name, value in (query or {}).items() if value})
        more = f"&{asked}" if asked else ""
        around = {"first": 1, "prev": self.number - 1, "next": self.number + 1, "last": self.last}
        links = [
            f'<{path}?page={number}&limit={self.limit}{more}>; rel="{name}"'
            for name, number in around.items()
            if 1 <= number <= self.last
        ]
        return {
            "X-Total-Count": str(self.total),
            "X-Page": str(self.number),
            "X-Per-Page": str(self.limit),
            "X-Total-Pages": str(self.last),
            "Link": ", ".join(links),
        }
