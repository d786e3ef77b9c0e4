"""The `helix` command: what the API answers, from a terminal or in a script."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from helix.client.ingest import BATCH_ROWS_MAX
from helix.client.ingest import ingest as write
from helix.client.rest import Client
from helix.client.transcripts import FORMATS, Format, Transcript, read
from helix.client.wire import (
    MESSAGES_MAX,
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    PAGES_MAX,
    TOKENS_MAX,
    Replay,
    ReplayedMessage,
    Strategy,
)
from helix.errors import ConflictError, HelixError

INTERRUPTED = 130
USER = "cli"

Connect = Callable[[str, str, str], Client]
Form = Literal["text", "json", "ndjson"]

# What would move a terminal's cursor or change its colours; `--json` gives every character.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Session:
    """One run of the command: the client on first need, where to print, where to remark."""

    def __init__(self, url: str, api_key: str, ca: str, connect: Connect) -> None:
        self.out = Console(highlight=False, soft_wrap=True)
        self.remarks = Console(highlight=False, stderr=True)
        self._url = url
        self._api_key = api_key
        self._ca = ca
        self._connect = connect

    def api(self, context: click.Context) -> Client:
        """A client that is closed when the command ends."""
        for name, value in (("--url", self._url), ("--api-key", self._api_key)):
            if not value:
                variable = f"HELIX_{name[2:].upper().replace('-', '_')}"
                raise click.UsageError(
                    f'`{variable}` is not set: run `eval "$(make -s env)"`, or give `{name}`'
                )
        return context.with_resource(self._connect(self._url, self._api_key, self._ca))

    def table(self, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Aligned columns for people; in a pipe one line a row, fields parted by tabs."""
        shown = [[_cell(value) for value in row] for row in rows]
        if not self.out.is_terminal:
            for row in shown:
                click.echo("\t".join(row))
            return
        table = Table(*names, box=None)
        for row in shown:
            table.add_row(*(escape(cell) for cell in row))
        self.out.print(table)


class Commands(click.Group):
    """Turns our errors into one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except HelixError as error:
            raise click.ClickException(error.message) from error


class Stopped(click.ClickException):
    """Ctrl-C, with what to do next."""

    exit_code = INTERRUPTED


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="HELIX_URL", default="", help="Where the API answers [HELIX_URL].")
@click.option(
    "--api-key",
    envvar="HELIX_API_KEY",
    default="",
    help="A key to it [HELIX_API_KEY]; other users of this machine can read an option.",
)
@click.option(
    "--ca",
    envvar="HELIX_CA",
    default="",
    metavar="FILE",
    help="The authority that signed the API's certificate, PEM [HELIX_CA].",
)
@click.pass_context
def helix(context: click.Context, url: str, api_key: str, ca: str) -> None:
    """Write, read and measure conversations.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
    """
    context.obj = Session(url, api_key, ca, context.obj or _connected)


def _connected(url: str, api_key: str, ca: str) -> Client:
    return Client(url, api_key, ca=ca)


@helix.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), help="Guessed if not given.")
@click.option("--user", default=USER, show_default=True, help="Whose conversations they are.")
@click.option("--conversation", metavar="ID", help="Its id; made from the file if not given.")
@click.option(
    "--batch",
    type=click.IntRange(1, MESSAGES_MAX),
    default=BATCH_ROWS_MAX,
    show_default=True,
    help="Messages a request.",
)
@click.pass_context
def ingest(
    context: click.Context,
    file: Path,
    form: Format | None,
    user: str,
    conversation: str | None,
    batch: int,
) -> None:
    """Write the conversations of FILE; again after a break, nothing is written twice."""
    session = _session(context)
    api = session.api(context)
    transcripts = _addressed(read(file, form), conversation)
    with _progress(session.remarks) as progress:
        total = sum(len(transcript.messages) for transcript in transcripts)
        bar = progress.add_task("writing", total=total)
        try:
            for transcript in transcripts:
                found = write(
                    api,
                    transcript,
                    user_id=user,
                    batch_rows=batch,
                    told=lambda count: progress.advance(bar, count),
                )
                session.table(
                    ("conversation", "messages"),
                    [(found.conversation_id, len(transcript.messages))],
                )
        except KeyboardInterrupt:
            raise Stopped("stopped; the same command again goes on from here") from None
        except ConflictError as error:
            raise click.ClickException(
                f"`{file}` was begun with another `--user` or `--batch`: give the same again,"
                f" or a new `--conversation` ({error.message})"
            ) from error


@helix.command()
@click.argument("conversation_id", metavar="ID")
@click.option("--max-tokens", type=click.IntRange(1, TOKENS_MAX), help="A hard bound.")
@click.option("--strategy", type=click.Choice(get_args(Strategy)), help="How to fit into it.")
@click.option("--query", default="", help="What it is read for; what answers it stays.")
@click.option("--resume", is_flag=True, help="The latest snapshot and what came after it.")
@click.option("--json", "form", flag_value="json", help="The whole answer.")
@click.option("--ndjson", "form", flag_value="ndjson", help="A message a line, then the rest.")
@click.pass_context
def replay(  # noqa: PLR0913 - click hands over every option by its name
    context: click.Context,
    conversation_id: str,
    *,
    max_tokens: int | None,
    strategy: Strategy | None,
    query: str,
    resume: bool,
    form: Form | None,
) -> None:
    """Print the conversation ID, complete or within a budget."""
    session = _session(context)
    found = session.api(context).replay(
        conversation_id,
        max_tokens=max_tokens,
        strategy=strategy,
        query=query,
        resume=resume,
    )
    match form:
        case "json":
            click.echo(msgspec.json.encode(found))
        case "ndjson":
            _lines(found)
        case _:
            _spoken(session, found)


@helix.command()
@click.argument("conversation_id", metavar="ID")
@click.pass_context
def stats(context: click.Context, conversation_id: str) -> None:
    """Print the figures of the conversation ID."""
    session = _session(context)
    found = msgspec.structs.asdict(session.api(context).stats(conversation_id))
    session.table(("figure", "value"), found.items())


@helix.command("list")
@click.option("--user", default="", help="Of this user alone.")
@click.option("--q", "text", default="", metavar="TEXT", help="With this in the title.")
@click.option("--page", type=click.IntRange(1, PAGES_MAX), default=1, show_default=True)
@click.option(
    "--limit", type=click.IntRange(1, PAGE_ROWS_MAX), default=PAGE_ROWS_DEFAULT, show_default=True
)
@click.pass_context
def listed(context: click.Context, *, user: str, text: str, page: int, limit: int) -> None:
    """Print the conversations, the latest active first."""
    session = _session(context)
    found = session.api(context).conversations(user_id=user, q=text, page=page, limit=limit)
    names = ("conversation", "user", "messages", "tokens", "outcome", "last", "title")
    session.table(
        names,
        [
            (
                row.conversation_id,
                row.user_id,
                row.message_count,
                row.total_tokens,
                row.outcome,
                row.last_at,
                row.title,
            )
            for row in found.conversations
        ],
    )
    session.remarks.print(f"{len(found.conversations)} of {found.total} conversations")


@helix.command()
@click.pass_context
def health(context: click.Context) -> None:
    """Print what every service said; exit code 1 unless all of them are healthy."""
    session = _session(context)
    found = session.api(context).health()
    rows = [(row.service, row.status, row.took_ms, row.detail) for row in found.services]
    session.table(("service", "health", "ms", "evidence"), rows)
    if found.status != "healthy":
        raise click.ClickException(f"the platform is {found.status}: see `make status`")


def _session(context: click.Context) -> Session:
    session = context.obj
    if not isinstance(session, Session):
        raise AssertionError("the group makes the session before any command runs")  # noqa: TRY004 - a mistake of ours
    return session


def _addressed(transcripts: list[Transcript], conversation: str | None) -> list[Transcript]:
    if conversation is None:
        return transcripts
    if len(transcripts) != 1:
        raise click.UsageError(
            f"the file holds {len(transcripts)} conversations: leave `--conversation` out"
        )
    return [msgspec.structs.replace(transcripts[0], conversation_id=conversation)]


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _spoken(session: Session, found: Replay) -> None:
    for message in found.messages:
        name = escape(_plain(message.metadata.name or message.role))
        session.out.print(f"[bold]{name}[/]: {escape(_plain(message.content))}")
    remark = f"{len(found.messages)} messages, {found.total_tokens} tokens"
    if measured := found.compression_stats:
        whole = f"{measured.original_messages} messages, {measured.original_tokens} tokens"
        remark += f" of {whole}, by `{measured.strategy}`"
    if found.degraded:
        remark += "; degraded, but complete"
    session.remarks.print(escape(remark))


def _lines(found: Replay) -> None:
    """As the API's own NDJSON: the last line is the rest, so that a cut answer shows."""
    rest = msgspec.structs.asdict(found)
    messages: list[ReplayedMessage] = rest.pop("messages")
    for message in messages:
        click.echo(msgspec.json.encode({"message": message}))
    click.echo(msgspec.json.encode({"replay": rest}))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return " ".join(_plain(str(value)).split())


def _plain(text: str) -> str:
    return _CONTROL.sub("", text)
