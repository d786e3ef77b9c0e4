"""`python -m runtime letters | replay | bury`: what an operator does about dead letters."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from helix.errors import InvalidError
from helix.ports import Clock
from helix.settings import Settings
from runtime.letters import Choice, Desk, Entry

COMMANDS = ("letters", "replay", "bury")
PURPOSES = {
    "letters": "List dead letters: records no worker could use, with the reason.",
    "replay": "Publish dead letters again, to where they were, for the pipelines that buried them.",
    "bury": "Give dead letters up: they are never replayed.",
}
ROWS_SHOWN = 50
COLUMNS_PIPED = 240  # a pipe has no width of its own, and a table cut to fit says nothing


def run(arguments: Sequence[str], settings: Callable[[], Settings], clock: Clock) -> int:
    """One of the commands; 0 when it did what it says."""
    command, words = arguments[0], given(arguments[0], arguments[1:])
    wanted = choice(command, words)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = COLUMNS_PIPED
    desk = Desk(settings().kafka, clock)
    chosen = wanted.of(desk.entries())
    if command == "letters":
        _list(console, chosen, words)
        return 0
    act = desk.replay if command == "replay" else desk.bury
    done = Counter[tuple[str, str]]() if words.dry_run else _carry_out(act, chosen)
    console.print(_summary(chosen, done, dry_run=words.dry_run))
    sys.stderr.writelines(f"{line}\n" for line in desk.lost)
    return 1 if desk.lost else 0


def choice(command: str, words: argparse.Namespace) -> Choice:
    """The letters that the words name; `InvalidError` where they name none."""
    named = (words.id, words.pipeline, words.topic)
    if command != "letters" and not words.all and not any(named):
        raise InvalidError(
            "no letters chosen: give `--id`, `--pipeline`, `--topic` or `--all`;"
            " `python -m runtime letters` lists them"
        )
    if not words.topic and (words.partition is not None or words.first or words.end is not None):
        raise InvalidError("offsets are of one topic: give `--topic` too")
    settled = {"replayed", "buried"} if command == "letters" else {"replayed"}
    return Choice(
        ids=frozenset(words.id),
        pipeline=words.pipeline,
        topic=words.topic,
        partition=words.partition,
        first=words.first,
        end=words.end,
        states=frozenset({"open", *(settled if words.settled else ())}),
    )


def _carry_out(
    act: Callable[[Sequence[Entry]], Iterator[Entry]], chosen: Sequence[Entry]
) -> Counter[tuple[str, str]]:
    """Letters settled, by pipeline and topic; what is on the way is shown on a terminal."""
    done = Counter[tuple[str, str]]()
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("letters", total=len(chosen))
        for entry in act(chosen):
            done[entry.pipeline, entry.topic] += 1
            progress.advance(task)
    return done


def _list(console: Console, entries: Sequence[Entry], words: argparse.Namespace) -> None:
    if words.json:
        lines = (msgspec.json.encode(entry).decode() for entry in entries)
        sys.stdout.writelines(f"{line}\n" for line in lines)
        return
    table = Table("letter", "pipeline", "place", "buried", "bytes", "state", "reason")
    for entry in entries[-ROWS_SHOWN:]:
        table.add_row(
            entry.letter_id,
            entry.pipeline,
            f"{entry.topic}:{entry.partition}:{entry.offset}",
            datetime.fromtimestamp(entry.buried_at / 1e6, UTC).isoformat(timespec="seconds"),
            str(entry.size),
            entry.state,
            entry.reason.partition("\n")[0],
        )
    console.print(table)
    shown = min(len(entries), ROWS_SHOWN)
    console.print(f"{len(entries)} letters, the latest {shown} shown; `--json` prints all")


def _summary(chosen: Sequence[Entry], done: Counter[tuple[str, str]], *, dry_run: bool) -> Table:
    title = "dry run: nothing was done" if dry_run else ""
    table = Table("pipeline", "topic", "chosen", "done", title=title)
    for group, count in sorted(Counter((e.pipeline, e.topic) for e in chosen).items()):
        table.add_row(*group, str(count), str(done[group]))
    table.add_row("all", "", str(len(chosen)), str(done.total()))
    return table


def given(command: str, arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command; it ends with help or usage where these are asked for or due."""
    parser = argparse.ArgumentParser(
        prog=f"python -m runtime {command}", description=PURPOSES[command]
    )
    parser.add_argument("--id", action="append", default=[], help="a letter; may be repeated")
    parser.add_argument("--pipeline", default="", help="letters that this pipeline buried")
    parser.add_argument("--topic", default="", help="letters of this topic")
    parser.add_argument("--partition", type=int, help="of the topic")
    parser.add_argument("--first", type=int, default=0, help="offsets from this one on")
    parser.add_argument("--end", type=int, help="offsets below this one")
    match command:
        case "letters":
            parser.add_argument("--settled", action="store_true", help="settled ones too")
            parser.add_argument("--json", action="store_true", help="one JSON document a line")
        case _:
            parser.add_argument("--all", action="store_true", help="every open letter")
            parser.add_argument("--dry-run", action="store_true", help="say what would be done")
            parser.add_argument(
                "--again",
                dest="settled",
                action="store_true",
                help="also letters that were replayed before",
            )
    return parser.parse_args(arguments)
