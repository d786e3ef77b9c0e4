"""Every event type and version ever published decodes for ever."""

import pathlib
import typing

import pytest

from helix.events import AnyEvent, decode, encode

EXAMPLES = pathlib.Path(__file__).parent / "examples"
FILES = sorted(EXAMPLES.glob("*/*/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_a_saved_example_decodes_as_its_type_and_version(path: pathlib.Path) -> None:
    event = decode(path.read_bytes())

    assert event.__struct_config__.tag == path.parent.parent.name
    assert event.version == int(path.parent.name)
    assert decode(encode(event)) == event


def test_every_event_type_has_a_saved_example_of_its_version() -> None:
    types = typing.get_args(AnyEvent)

    saved = {(path.parent.parent.name, int(path.parent.name)) for path in FILES}
    assert {(str(kind.__struct_config__.tag), 1) for kind in types} <= saved
