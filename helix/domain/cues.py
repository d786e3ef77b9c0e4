"""What a turn names and decides: entities, numbers, dates and decisions, found by pattern."""

import re
from dataclasses import dataclass

# A capitalised word may begin any sentence, so it counts only inside one, or with a second word.
PROPER = re.compile(
    r"(?:(?<=[a-z0-9,;:)'\"] )[A-Z][\w'-]+(?: [A-Z][\w'-]+)*|\b[A-Z][\w'-]+(?: [A-Z][\w'-]+)+)"
)
ACRONYM = re.compile(r"\b[A-Z]{2,}\b(?!-\d)")
LINK = re.compile(r"https?://[^\s<>\"')\]]+(?<![.,:;!?])")
ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
MENTION = re.compile(r"(?<![\w@.])[@#][A-Za-z]\w+")
CODE = re.compile(
    r"`[^`\n]+`|\b[A-Za-z]\w*(?:_\w+)+\b|\b[A-Z]{2,}-\d+\b|\b[a-z]+(?:[A-Z][a-z]+)+\b"
)
MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
DATE = re.compile(
    r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}[/.]\d{1,2}[/.](?:\d{4}|\d{2})\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {MONTH}\b(?:,? \d{{4}})?"
    rf"|\b{MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}})?|\b{MONTH} \d{{4}}\b"
)
NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)\d+(?:[.,:]\d+)*%?")  # that of `OPS-42` is none
DECISION = re.compile(
    r"\b(?:decid\w*|decision\w*|agree[ds]?|agreement|conclu\w*|propos\w*|suggest\w*|recommend\w*"
    r"|plan(?:s|ned)?|must|should|need(?:s|ed)? to|have to|going to|deadline\w*|requirement\w*"
    r"|problem\w*|issue\w*|because|therefore|important|action)\b",
    re.IGNORECASE,
)


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
    code = frozenset(found.strip("`") for found in _all(text, CODE))
    exact = code | _all(text, LINK) | _all(text, ADDRESS)
    dates = _all(text, DATE)
    # The month of a date is no name, its digits are no numbers of their own.
    rest = DATE.sub(" ", text) if dates else text
    proper = _all(rest, PROPER) | _all(rest, ACRONYM) | _all(text, MENTION)
    return Cues(
        entities=frozenset(" ".join(one.split()).casefold() for one in proper | exact) - {""},
        numbers=frozenset(one.replace(",", "") for one in _all(rest, NUMBER)),
        dates=frozenset(one.casefold() for one in dates),
        code=exact,
        decisions=len(DECISION.findall(text)),
    )


def _all(text: str, pattern: re.Pattern[str]) -> frozenset[str]:
    return frozenset(pattern.findall(text))
