"""Declared against live, as values: what differs, and what is to be done about it."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from helix.topology.model import Record

ABSENT = "nothing"
PRESENT = "there"
SHOWN_CHARS_MAX = 120

Parts = Mapping[str, str]
Things = Mapping[str, Parts]  # name -> part of it -> how it is


class Kind(StrEnum):
    """What drifts."""

    IMAGE = "image"
    CONFIG = "config"
    TOPIC = "topic"
    DDL = "ddl"
    INDEX = "index"
    BUCKET_POLICY = "bucket_policy"
    SECRET_AGE = "secret_age"  # noqa: S105 - the name of a kind


class Cure(StrEnum):
    """What ends a drift."""

    UP = "up"
    ROLL_OUT = "roll_out"
    HAND_OUT = "hand_out"
    BOOTSTRAP = "bootstrap"
    MIGRATE = "migrate"
    MOVE = "move"
    DECIDE = "decide"
    ROTATE = "rotate"
    CHANGE = "change"


NEXT_STEPS = {
    Cure.UP: "`make up STACK={stack}` repairs it",
    Cure.ROLL_OUT: (
        "`make up STACK={stack}` rolls out what changed in the checkout; what was changed by hand"
        " is undone by removing the container or, on one machine, by `make down` and `make up`"
    ),
    Cure.HAND_OUT: "`make up STACK={stack}` hands it to its readers",
    Cure.BOOTSTRAP: (
        "`.venv/bin/python -m infra.stack exec --stack {stack} -- .venv/bin/python -m runtime"
        " bootstrap` repairs it"
    ),
    Cure.MIGRATE: (
        "it is a decision: undo it by hand, or write a migration that makes it and record the"
        " schema again (docs/operations/drift.md)"
    ),
    Cure.MOVE: (
        "it is a decision: it cannot be changed in place, so move the data to a new one, or put it"
        " into helix/topology/catalog.py"
    ),
    Cure.DECIDE: (
        "it is a decision: put it into helix/topology/catalog.py, or take it away by hand"
    ),
    Cure.ROTATE: "it is a decision: docs/operations/certificates.md says how to rotate",
    Cure.CHANGE: (
        "`.venv/bin/python -m infra.passwords rotate {name} --stack {stack}` gives it another, and"
        " says what to run then (docs/operations/passwords.md)"
    ),
}


class Drift(Record, frozen=True):
    """One thing that is not as declared."""

    kind: Kind
    name: str
    declared: str
    live: str
    cure: Cure

    def sentence(self, stack: str) -> str:
        """What differs, and what to do."""
        todo = NEXT_STEPS[self.cure].format(name=self.name, stack=stack)
        return f"{self.kind}: `{self.name}`: declared {self.declared}; live {self.live}: {todo}"


class Away(Record, frozen=True):
    """Something that could not be looked at."""

    name: str
    kinds: tuple[Kind, ...]
    why: str

    @property
    def sentence(self) -> str:
        """What is not known, and why."""
        return f"`{self.name}` was not looked at ({', '.join(self.kinds)}): {self.why}"


class Report(Record, frozen=True):
    """One look at a stack."""

    stack: str
    drifts: tuple[Drift, ...]
    away: tuple[Away, ...] = ()


class Cures(Record, frozen=True):
    """What ends each way to differ; `parts` are those that are cured differently when they do."""

    missing: Cure
    differing: Cure
    strange: Cure = Cure.DECIDE
    parts: dict[str, Cure] = {}


def compared(
    kind: Kind, declared: Things, live: Things, cures: Cures, *, store: str = ""
) -> list[Drift]:
    """One drift for each thing that one side alone has, else one for each part that differs."""
    return [
        drift
        for name in sorted(declared.keys() | live.keys())
        for drift in _thing(
            kind, f"{store} {name}".strip(), (declared.get(name), live.get(name)), cures
        )
    ]


def _thing(
    kind: Kind, name: str, sides: tuple[Parts | None, Parts | None], cures: Cures
) -> Iterator[Drift]:
    declared, live = sides
    if declared is None:
        yield Drift(kind=kind, name=name, declared=ABSENT, live=PRESENT, cure=cures.strange)
    elif live is None:
        yield Drift(kind=kind, name=name, declared=PRESENT, live=ABSENT, cure=cures.missing)
    else:
        yield from _parts(kind, name, declared, live, cures)


def _parts(kind: Kind, name: str, declared: Parts, live: Parts, cures: Cures) -> Iterator[Drift]:
    for part in sorted(declared.keys() | live.keys()):
        wanted, found = declared.get(part), live.get(part)
        if wanted != found:
            yield Drift(
                kind=kind,
                name=f"{name} {part}".strip(),
                declared=shown(wanted),
                live=shown(found),
                cure=cures.strange if wanted is None else cures.parts.get(part, cures.differing),
            )


def shown(text: str | None) -> str:
    """The text, cut to what a line bears."""
    if text is None:
        return ABSENT
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}..."
