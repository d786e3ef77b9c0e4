"""Just enough SQL to serve it: where an INSERT's data begins, which format, what is refused."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra.engines.clickhouse.errors import (
    ACCESS_DENIED,
    NOT_IMPLEMENTED,
    SYNTAX_ERROR,
    ClickHouseError,
    failure,
)

# The engine's own lexer in small: what it skips or quotes must be skipped or quoted here, or a
# refused word could hide.
TOKEN = re.compile(
    r"""(?P<blank>[\s\u200b\ufeff]+|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)
    |\$(?P<tag>[A-Za-z0-9_]*)\$.*?\$(?P=tag)\$
    |'(?:[^'\\]|\\.|'')*' | \u2018[^\u2019]*\u2019
    |`(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*" | \u201c[^\u201d]*\u201d
    |[A-Za-z_][A-Za-z0-9_$]* | [0-9][A-Za-z0-9_]*
    |.""",
    re.DOTALL | re.VERBOSE,
)
# Words of refused statements: only a text that has one is read token by token.
SUSPECT = re.compile(
    r";|\\x|\b(?:USER|ROLE|POLICY|QUOTA|PROFILE|GRANT|REVOKE|EXECUTE|OUTFILE|INFILE|FILE|Python"
    r"|Kafka|RabbitMQ|NATS|Replicated\w*)\b",
    re.IGNORECASE,
)
FORMAT_WORD = re.compile(r"\bFORMAT\b", re.IGNORECASE)
FORMAT_NAME = re.compile(r"\s+(\w+)[ \t\f]*(?:\r?\n)?")
TEMPORARY = re.compile(r"CREATE\s+(?:OR\s+REPLACE\s+)?TEMPORARY\b", re.IGNORECASE)

ACCESS_VERBS = frozenset({"CREATE", "ALTER", "DROP"})
ACCESS_NOUNS = frozenset({"USER", "ROLE", "ROW", "POLICY", "QUOTA", "PROFILE", "SETTINGS"})
ABSENT_ENGINES = frozenset({"KAFKA", "RABBITMQ", "NATS"})
ROWS_VERBS = frozenset(
    {"SELECT", "WITH", "FROM", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "EXISTS", "CHECK", "("}
)
INSERT_WORD = re.compile(r"\bINSERT\b", re.IGNORECASE)
STATE_VERBS = frozenset({"SET", "USE"})
QUOTES = '`"\u201c\u201d'
FULL_STACKS = "use the docker or the kubernetes stack for it"


@dataclass(frozen=True)
class Token:
    """A word or sign with its place; `depth` counts the parentheses around it."""

    text: str
    start: int
    end: int
    depth: int

    @property
    def word(self) -> str:
        """The text as keywords are compared."""
        return self.text.upper()

    @property
    def name(self) -> str:
        """The text as names are compared: without quotes."""
        return self.text.strip(QUOTES).upper()


END = Token("", 0, 0, 0)


@dataclass(frozen=True)
class Insert:
    """An INSERT whose data follows: `head` is the statement, the data begins at `data_at`."""

    head: str
    format: str
    data_at: int


@dataclass(frozen=True)
class Query:
    """A statement without data of its own; `format` is None where the text names none."""

    sql: str
    verb: str
    format: str | None

    @property
    def has_rows(self) -> bool:
        """Whether the statement answers rows even if there are none."""
        return self.verb in ROWS_VERBS

    @property
    def can_stream(self) -> bool:
        """Whether its answer may be sent while it runs."""
        with_insert = self.verb == "WITH" and INSERT_WORD.search(self.sql) is not None
        return self.verb in {"SELECT", "WITH"} and not with_insert

    @property
    def keeps_state(self) -> bool:
        """Whether the connection is another one afterwards."""
        return self.verb in STATE_VERBS or TEMPORARY.match(self.sql) is not None


def tokens(text: str) -> Iterator[Token]:
    """The words and signs of a statement without blanks and comments."""
    depth = 0
    for found in TOKEN.finditer(text):
        if found.lastgroup == "blank":
            continue
        if found[0] == ")":
            depth -= 1
        yield Token(found[0], found.start(), found.end(), depth)
        if found[0] == "(":
            depth += 1


def find_insert(text: str) -> Insert | None:
    """The INSERT whose data begins within the text; None if it is no such statement so far."""
    outer = (token for token in tokens(text) if token.depth == 0)
    first = next(outer, None)
    if first is None or first.word != "INSERT":
        return None
    for token in outer:
        if token.word in {"SELECT", "WITH", "INFILE", "WATCH"}:
            return None
        if token.word == "VALUES":
            return Insert(text[: token.start], "Values", token.end)
        if token.word == "FORMAT":
            name = FORMAT_NAME.match(text, token.end)
            return name and Insert(text[: token.start], name[1], name.end())
    return None


def with_file(head: str, path: str) -> str:
    """The head of an INSERT whose data stands in that file."""
    outer = (token for token in tokens(head) if token.depth == 0)
    at = next((token.start for token in outer if token.word == "SETTINGS"), len(head))
    return f"{head[:at].rstrip()} FROM INFILE '{path}' {head[at:]}".rstrip()


def parse(text: str) -> Query:
    """The statement with its FORMAT clause taken out."""
    sql = text.strip().rstrip(";").rstrip()
    first = next(tokens(sql), None)
    if first is None:
        raise failure(SYNTAX_ERROR, "Syntax error: Empty query")
    sql, name = _take_format(sql[first.start :])
    return Query(sql, first.word, name)


def _take_format(sql: str) -> tuple[str, str | None]:
    if FORMAT_WORD.search(sql) is None:
        return sql, None
    outer = [token for token in tokens(sql) if token.depth == 0]
    for at in range(len(outer) - 2, 0, -1):
        after = outer[at + 2].word if at + 2 < len(outer) else "SETTINGS"
        if outer[at].word == "FORMAT" and after == "SETTINGS":
            name = outer[at + 1]
            return f"{sql[: outer[at].start]}{sql[name.end :]}".rstrip(), name.text
    return sql, None


def refuse(text: str) -> None:
    """Raise for what the server would not do either, or what this engine cannot."""
    if SUSPECT.search(text) is None:
        return
    read = list(tokens(text))
    if not read:
        return
    for check in (_access, _engine, _files, _machine, _several):
        error = check(read)
        if error is not None:
            raise error


def _access(read: Sequence[Token]) -> ClickHouseError | None:
    words = [token.word for token in read[:4]]
    verb, after = words[0], [word for word in words[1:] if word not in {"OR", "REPLACE"}]
    noun = after[0] if after else ""
    if verb in {"GRANT", "REVOKE"} or (verb, noun) == ("EXECUTE", "AS"):
        what = verb
    elif verb in ACCESS_VERBS and noun in ACCESS_NOUNS:
        what = f"{verb} {noun}"
    else:
        return None
    return _absent(f"`{what}`", "users and their rights come from the engine's config")


def _engine(read: Sequence[Token]) -> ClickHouseError | None:
    for at, token in enumerate(read):
        if token.word == "ENGINE":
            rest = [after.name for after in read[at + 1 : at + 3] if after.text != "="]
            name = rest[0] if rest else ""
            if name in ABSENT_ENGINES or name.startswith("REPLICATED"):
                return _absent(f"`ENGINE = {rest[0]}`", "this engine stands alone")
    return None


def _files(read: Sequence[Token]) -> ClickHouseError | None:
    pairs = {(one.word, two.word) for one, two in itertools.pairwise(read)}
    reads = read[0].word == "INSERT" and ("FROM", "INFILE") in pairs
    if reads or ("INTO", "OUTFILE") in pairs:
        return failure(
            NOT_IMPLEMENTED, "`INTO OUTFILE` and `FROM INFILE` belong to a client; send the data"
        )
    return None


def _machine(read: Sequence[Token]) -> ClickHouseError | None:
    """An embedded engine reads any file and the variables of its process; a server does not."""
    for one, two in itertools.pairwise([*read, END]):
        # By any way: a call, an argument of `arrayMap`, APPLY, an engine, a backup's place.
        if one.name == "FILE":
            return failure(
                ACCESS_DENIED, "`file` reads this machine's files: granted to nobody; send the data"
            )
        if one.name == "PYTHON" and two.text == "(":
            return _absent("`Python()`", "the server has no such table function")
        if one.text[0] in QUOTES and "\\x" in one.text:
            return failure(NOT_IMPLEMENTED, f"{one.text}: write the name without `\\x`")
    return None


def _several(read: Sequence[Token]) -> ClickHouseError | None:
    for at, token in enumerate(read):
        if token.text == ";" and any(after.text != ";" for after in read[at:]):
            return failure(SYNTAX_ERROR, "Multi-statements are not allowed; send them one by one")
    return None


def _absent(what: str, why: str) -> ClickHouseError:
    return failure(
        NOT_IMPLEMENTED, f"{what} is not available in the embedded engine: {why}; {FULL_STACKS}"
    )
