"""What a turn names and decides: entities, numbers, dates and decisions, found by pattern."""

import re
from dataclasses import dataclass

# Every turn of every history comes by here. A search skips to the character a pattern begins with,
# so patterns begin with one of few, what must stand before it is looked at from behind it, and
# those that cannot do without a character are tried only where it occurs.

# A capitalised word may begin any sentence, so it counts only inside one, or with a second word.
PROPER = re.compile(
    r"[A-Z](?:(?<=[a-z0-9,;:)'\"] [A-Z])[\w'-]+(?: [A-Z][\w'-]+)*"
    r"|(?<=\b[A-Z])[\w'-]+(?: [A-Z][\w'-]+)+)"
)
ACRONYM = re.compile(r"[A-Z](?<=\b[A-Z])[A-Z]+\b(?!-\d)")
LINK = re.compile(r"https?://[^\s<>\"')\]]+(?<![.,:;!?])")
ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
MENTION = re.compile(r"(?<![\w@.])[@#][A-Za-z]\w+")
CODE = re.compile(
    r"`[^`\n]+`|\b[A-Za-z]\w*(?:_\w+)+\b|\b[A-Z]{2,}-\d+\b|\b[a-z]+(?:[A-Z][a-z]+)+\b"
)
CODE_SIGN = re.compile(r"[A-Z](?:(?<=[a-z][A-Z])|-\d)")  # of code without "`" and "_"
MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
DATE = re.compile(
    r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}[/.]\d{1,2}[/.](?:\d{4}|\d{2})\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {MONTH}\b(?:,? \d{{4}})?"
    rf"|\b{MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}})?|\b{MONTH} \d{{4}}\b"
)
DIGIT = re.compile(r"\d")
NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)\d+(?:[.,:]\d+)*%?")  # that of `OPS-42` is none
DECISION = re.compile(  # of a text in lower case
    r"\b(?:decid\w*|decision\w*|agree[ds]?|agreement|conclu\w*|propos\w*|suggest\w*|recommend\w*"
    r"|plan(?:s|ned)?|must|should|need(?:s|ed)? to|have to|going to|deadline\w*|requirement\w*"
    r"|problem\w*|issue\w*|because|therefore|important|action)\b"
)
_NONE = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Cues:
    """The distinct things a text names, and how many words of deciding it has."""

    entities: frozenset[str]
    numbers: frozenset[str]
    dates: frozenset[str]
    code: frozenset[str]  # those of the entities that must be written exactly
    decisions: int

    @property
    def named(self) -> int:
        """How many distinct things the text names."""
        return len(self.entities) + len(self.numbers) + len(self.dates)


def cues(text: str) -> Cues:
    """What the text names and decides; the same text always the same."""
    digits = DIGIT.search(text) is not None
    dates = _all(text, DATE) if digits else _NONE
    # The month of a date is no name, its digits are no numbers of their own.
    rest = DATE.sub(" ", text) if dates else text
    exact = _exact(text)
    proper = _all(rest, PROPER) | _all(rest, ACRONYM) | _mentioned(text)
    return Cues(
        entities=frozenset(" ".join(one.split()).casefold() for one in proper | exact) - {""},
        numbers=_numbers(rest) if digits else _NONE,
        dates=frozenset(one.casefold() for one in dates),
        code=exact,
        decisions=len(DECISION.findall(text.lower())),
    )


def _exact(text: str) -> frozenset[str]:
    """What must be written exactly: code, links, addresses."""
    code = "`" in text or "_" in text or CODE_SIGN.search(text) is not None
    found = frozenset(one.strip("`") for one in CODE.findall(text)) if code else _NONE
    if "://" in text:
        found |= _all(text, LINK)
    if "@" in text:
        found |= _all(text, ADDRESS)
    return found


def _mentioned(text: str) -> frozenset[str]:
    return _all(text, MENTION) if "@" in text or "#" in text else _NONE


def _numbers(text: str) -> frozenset[str]:
    return frozenset(one.replace(",", "") for one in NUMBER.findall(text))


def _all(text: str, pattern: re.Pattern[str]) -> frozenset[str]:
    return frozenset(pattern.findall(text))
