"""The last tests of the folder: the stack becomes small again, and what it was told stays."""

from dataclasses import replace

from helix.topology.catalog import CATALOG
from tests.integration.running import Running


def test_a_stack_that_grew_has_what_it_was_told_while_it_was_small(
    stack: Running, before: str
) -> None:
    assert stack.misquoted(before) == []
    assert stack.running() == {service.name for service in CATALOG.services if service.laptop}


def test_a_stack_that_became_small_again_keeps_its_data_and_nothing_else(
    stack: Running, before: str
) -> None:
    later = stack.tell()
    small = replace(stack, profile="core")
    small.up()

    assert small.misquoted(before) == []
    assert small.misquoted(later) == []
    assert small.is_healthy()
    assert small.running() == set(small.outputs.services) < set(stack.outputs.services)
    assert {port.partition(".")[0] for port in small.ports_held()} == small.running()
