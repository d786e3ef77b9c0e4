"""The record as the page docs/reference/compression.md."""

from collections.abc import Sequence

from helix.domain.compression import STRATEGIES
from helix.domain.curves import Estimate
from validation.compression.measuring import RATIOS, Record, Row

HEAD = """# Compression, measured

Made by `python -m validation.compression measure --corpus FILE`; do not edit.

A question's recall is the share of the turns that answer it which were kept, word for word, by a
compressor that does not know the question. Mean over the questions of a meeting, then over
meetings; 95 % intervals by bootstrap over meetings. Tokens are exact counts of o200k. Which
meetings are held out stands in `validation/compression/split.json`.
"""
HOLLOW = """Recall counts turns, and a turn of one word counts like one of a hundred: the last rule
keeps hardly anything but such turns and leads by it. The share kept of the answers' tokens and of
their distinct content words shows what a lead in turns is worth.
"""


def page(record: Record) -> str:
    """The page of that record, whole."""
    source = record.source
    return "\n".join(
        [
            HEAD,
            f"{source.data_set} (sha256 `{source.sha256[:16]}`): {source.meetings} meetings.",
            f"Questions: {source.queries}. The rest of the split was used to choose the settings.",
            "",
            "## Recall by ratio and strategy",
            "",
            *_curve(record),
            "",
            f"## Every rule at {record.ratio:.2f} of the tokens, held out",
            "",
            HOLLOW,
            *_rules(record.held_out),
            "",
            "## `hybrid` less another rule, held out",
            "",
            f"The best single rule on the meetings that tune is `{record.best_single}`.",
            "",
            "| rule | difference of recall |",
            "|---|---|",
            *(f"| {one.rule} | {_shown(one.turns)} |" for one in record.differences),
            "",
            "## Every rule on the meetings that tune",
            "",
            *_rules(record.tune),
            "",
        ]
    )


def _curve(record: Record) -> list[str]:
    points = {(point.ratio, point.strategy): point.recall for point in record.points}
    return [
        f"| ratio | {' | '.join(STRATEGIES)} |",
        f"|---|{'---|' * len(STRATEGIES)}",
        *(
            f"| {ratio:.1f} | "
            + " | ".join(_shown(points[ratio, strategy]) for strategy in STRATEGIES)
            + " |"
            for ratio in RATIOS
        ),
    ]


def _rules(rows: Sequence[Row]) -> list[str]:
    return [
        "| rule | turns (recall) | tokens | content words |",
        "|---|---|---|---|",
        *(
            f"| {row.rule} | {_shown(row.turns)} | {_shown(row.tokens)} | {_shown(row.words)} |"
            for row in rows
        ),
    ]


def _shown(value: Estimate) -> str:
    return f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})"
