"""The demo: a real meeting goes in through the API and is replayed word for word."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from helix.client.rest import Client
from helix.client.transcripts import Meeting
from helix.errors import HelixError
from validation.access import client
from validation.meetings import ingest, read, read_lines, same

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


def corpus(api: Client, meetings: Sequence[Meeting], console: Console) -> bool:
    """Whether every meeting of a corpus came back exactly as it went in, told one by one."""
    right = turns = 0
    started_at = time.monotonic()
    for number, meeting in enumerate(meetings, 1):
        found = ingest(api, meeting, user_id="corpus")
        differences = same(meeting, api.replay(found.conversation_id))
        right += not differences
        turns += len(meeting.turns)
        verdict = differences[0] if differences else "exactly as said"
        line = f"{number:3} of {len(meetings)}: {len(meeting.turns):5} turns, {verdict}"
        console.print(escape(line))
    took_s = time.monotonic() - started_at
    console.print(f"{turns} turns in {took_s:.1f} s: {right} of {len(meetings)} meetings came back")
    return right == len(meetings)


def main(arguments: Sequence[str]) -> int:
    """Exit 0 if what went in came back, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m validation.demo", description=__doc__)
    parser.add_argument("corpus", nargs="?", type=Path, help="a file of meetings, JSON lines")
    given = parser.parse_args(arguments)
    console = Console(highlight=False)
    try:
        env = os.environ  # noqa: TID251 - the composition root of this command
        with client(env) as api:
            if given.corpus:
                return 0 if corpus(api, read_lines(given.corpus), console) else 1
            return 0 if demo(api, console) else 1
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
