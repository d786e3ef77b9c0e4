"""Exact token counts without a network: tiktoken over the vocabulary of the bpe-openai wheel."""

import base64
import functools
import gzip
import hashlib
import importlib.metadata
import pathlib

import tiktoken

from helix.errors import TopologyError

VOCABULARY = "bpe_openai/data/o200k_base.tiktoken.gz"
VOCABULARY_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
SPECIAL = {"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018}
# How o200k splits text into words before merging; part of the vocabulary's definition.
PARTS = (
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""\p{N}{1,3}""",
    r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
    r"""\s*[\r\n]+""",
    r"""\s+(?!\S)""",
    r"""\s+""",
)


def count(text: str) -> int:
    """How many tokens of the default vocabulary (o200k) the text has."""
    return len(_vocabulary().encode_ordinary(text))


@functools.cache
def _vocabulary() -> tiktoken.Encoding:
    # Found as a file of the distribution: importing the package would load every vocabulary.
    packed = importlib.metadata.distribution("bpe-openai").locate_file(VOCABULARY)
    raw = gzip.decompress(pathlib.Path(str(packed)).read_bytes())
    if hashlib.sha256(raw).hexdigest() != VOCABULARY_SHA256:
        raise TopologyError("the vocabulary of `bpe-openai` changed: install the locked version")
    words = (line.split() for line in raw.splitlines() if line)
    ranks = {base64.b64decode(word): int(rank) for word, rank in words}
    return tiktoken.Encoding(
        "o200k_base", pat_str="|".join(PARTS), mergeable_ranks=ranks, special_tokens=SPECIAL
    )
