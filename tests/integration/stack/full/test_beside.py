"""The first test of the folder: the small stack still runs, and goes before the others begin."""

from tests.integration.running import Running
from tests.integration.stack.conftest import take_away


def test_two_stacks_run_side_by_side_and_purge_leaves_no_file(
    stack: Running, core_stack: Running
) -> None:
    assert stack.is_healthy()
    assert core_stack.is_healthy()

    take_away(core_stack)

    assert stack.is_healthy()
