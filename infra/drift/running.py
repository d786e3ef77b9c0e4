"""A process as rendered against the same process as found: settings, environment, files."""

import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from helix.topology.model import Record
from infra.certificates.authority import PREFIX as TLS
from infra.drift.model import ABSENT, PRESENT, SHOWN_CHARS_MAX, Cure, Drift, Kind, shown
from infra.provider import tokens
from infra.provider.secrets import OPENING, REFERENCE, SECRET_BYTES, fingerprint, resolve

Lookup = Callable[[str], str]

ENVIRONMENT = "env "  # before the name of a variable, where a file has its path
PASSWORD = rf"([0-9a-f]{{{2 * SECRET_BYTES}}})"
SIGNED = r"([\w-]+\.[\w-]+\.[\w-]+)"
CERTIFICATE = r"([\s\S]+)"
CURRENT, OTHER = "the vault's current one", "another one"


class Process(Record, frozen=True):
    """What is compared of a process. As rendered, `texts` may hold secret references.

    `texts` are the environment, each variable under its name behind `ENVIRONMENT`, and the files
    under their paths; of a binary file it is the base64.
    """

    name: str
    image: dict[str, str]
    settings: dict[str, str]
    texts: dict[str, str]


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Variables among the texts of a process."""
    return {f"{ENVIRONMENT}{name}": value for name, value in env.items()}


def differences(declared: Process, live: Process, lookup: Lookup) -> list[Drift]:
    """What the process that was found has otherwise; no secret is shown."""
    return [
        *_facts(Kind.IMAGE, declared.name, (declared.image, live.image), Cure.UP),
        *_facts(Kind.CONFIG, declared.name, (declared.settings, live.settings), Cure.ROLL_OUT),
        *dict.fromkeys(_texts(declared, live, lookup)),
    ]


def _facts(
    kind: Kind, name: str, sides: tuple[Mapping[str, str], Mapping[str, str]], cure: Cure
) -> Iterator[Drift]:
    declared, live = sides
    for fact, wanted in declared.items():
        found = live.get(fact)
        if found != wanted:
            one, other = _told(wanted, found or ABSENT)
            yield Drift(kind=kind, name=f"{name} {fact}", declared=one, live=other, cure=cure)


def _told(wanted: str, found: str) -> tuple[str, str]:
    """Both in full where they are short, else their first words that differ."""
    if max(len(wanted), len(found)) <= SHOWN_CHARS_MAX:
        return wanted, found
    return first_difference(shlex.split(wanted), shlex.split(found))


def _texts(declared: Process, live: Process, lookup: Lookup) -> Iterator[Drift]:
    for place in sorted(declared.texts.keys() | live.texts.keys()):
        wanted, found = declared.texts.get(place), live.texts.get(place)
        yield from _text(f"{declared.name} {place}", wanted, found, lookup)


def _text(name: str, wanted: str | None, found: str | None, lookup: Lookup) -> Iterator[Drift]:
    if wanted is None or found is None:
        sides = (PRESENT, ABSENT) if found is None else (ABSENT, PRESENT)
        yield _config(name, *sides)
        return
    current = resolve(wanted, lookup)
    if found == current:
        return
    if old := outdated(wanted, found, lookup):
        for secret in old:
            owner = name.split(" ", 1)[0]
            yield Drift(
                kind=Kind.SECRET_AGE,
                name=f"{owner} {secret}",
                declared=CURRENT,
                live=OTHER,
                cure=Cure.HAND_OUT,
            )
    elif OPENING in wanted:
        yield _config(name, fingerprint(current), fingerprint(found))
    else:
        yield _config(name, *first_difference(current.splitlines(), found.splitlines()))


def _config(name: str, declared: str, live: str) -> Drift:
    return Drift(kind=Kind.CONFIG, name=name, declared=declared, live=live, cure=Cure.ROLL_OUT)


def outdated(template: str, found: str, lookup: Lookup) -> list[str]:
    """The secrets that alone make the text another: empty where anything else differs too.

    The parts of one certificate count as one.
    """
    literals_and_names = REFERENCE.split(template)
    names = literals_and_names[1::2]
    pattern = "".join(
        re.escape(part) if index % 2 == 0 else _any_version(part)
        for index, part in enumerate(literals_and_names)
    )
    match = re.fullmatch(pattern, found)
    if match is None:
        return []
    held = zip(names, match.groups(), strict=True)
    return sorted({_whole(name) for name, value in held if value != lookup(name)})


def _any_version(name: str) -> str:
    if name.startswith(TLS):
        return CERTIFICATE
    return SIGNED if name.startswith(tokens.PREFIX) else PASSWORD


def _whole(name: str) -> str:
    """`tls.kafka-1.key` is of the certificate `tls.kafka-1`."""
    return name.rpartition(".")[0] if name.startswith(TLS) and name.count(".") > 1 else name


def first_difference(declared: Sequence[str], live: Sequence[str]) -> tuple[str, str]:
    """The first words or lines that are not the same."""
    for wanted, found in itertools.zip_longest(declared, live):
        if wanted != found:
            return shown(wanted), shown(found)
    return ABSENT, "other blanks"
