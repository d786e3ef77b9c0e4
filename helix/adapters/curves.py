"""The measured curve of the strategies, as it is shipped beside this file."""

import functools
from pathlib import Path

import msgspec

from helix.domain.curves import Curve

FILE = Path(__file__).with_name("recall_curve.json")  # made by `python -m validation.compression`


@functools.cache
def measured() -> Curve:
    """The curve that was measured on the held-out meetings."""
    return msgspec.json.decode(FILE.read_bytes(), type=Curve)
