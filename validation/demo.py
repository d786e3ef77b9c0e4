"""The demo: a real meeting goes in through the API and is replayed word for word."""

import os
import sys
import time

from rich.console import Console
from rich.markup import escape

from helix.client.rest import Client
from helix.errors import HelixError
from validation.access import client
from validation.meetings import ingest, read, same

LINES_SHOWN = 5
DIFFERENCES_SHOWN = 10


def demo(api: Client, console: Console) -> bool:
    """Whether the meeting came back exactly as it went in."""
    meeting = read()
    started_at = time.monotonic()
    found = ingest(api, meeting, user_id="demo")
    ingested_at = time.monotonic()
    replay = api.replay(found.conversation_id)
    replayed_at = time.monotonic()
    for message in replay.messages[:LINES_SHOWN]:
        console.print(f"  [bold]{escape(message.metadata.name)}[/]: {escape(message.content)}")
    console.print(f"  and {max(0, len(replay.messages) - LINES_SHOWN)} turns more")
    differences = same(meeting, replay)
    for difference in differences[:DIFFERENCES_SHOWN]:
        console.print(f"[red]{escape(difference)}[/]")
    verdict = "exactly as said" if not differences else f"{len(differences)} differences"
    console.print(
        f"{len(meeting.turns)} turns in {ingested_at - started_at:.2f} s,"
        f" replayed in {replayed_at - ingested_at:.2f} s: {verdict}"
        f" (conversation {found.conversation_id}, {replay.total_tokens} tokens)"
    )
    return not differences


def main() -> int:
    """Exit 0 if the meeting came back, 1 if not."""
    try:
        env = os.environ  # noqa: TID251 - the composition root of this command
        with client(env) as api:
            return 0 if demo(api, Console(highlight=False)) else 1
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
