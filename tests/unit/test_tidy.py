"""The tree's own shape."""

import re

import pytest

from tests.tree import ROOT, tracked

EMPTY_WORDS = re.compile(r"(^|_)(utils?|helpers?|common|base|manager|misc|service_layer)(_|$)")
STATUS_FILES = re.compile(
    r"(^|[-_])(phase|status|summary|plan|todo|notes|progress)([-_].*)?\.(md|txt)$", re.IGNORECASE
)
PROGRAMS = ("helix", "infra", "controlplane", "runtime", "validation", "loadtest")


def test_file_names_say_something() -> None:
    assert [path for path in tracked("*.py") if EMPTY_WORDS.search(path.stem)] == []


def test_the_tree_holds_no_plans_and_no_status_files() -> None:
    kept = ("changelog.d", "decisions")
    found = [path for path in tracked() if STATUS_FILES.search(path.name)]

    assert [path for path in found if path.parent.name not in kept] == []


def test_packages_have_empty_init_files() -> None:
    assert [path for path in tracked("*__init__.py") if path.read_text()] == []


def test_ports_stand_in_the_catalogue_alone() -> None:
    from helix.topology.catalog import CATALOG  # noqa: PLC0415 - only this test needs it

    numbers = {port.number for service in CATALOG.services for port in service.ports}
    literal = re.compile(
        rf"(?<![\w.])({'|'.join(str(number) for number in sorted(numbers))})(?!\w)"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in tracked(*(f"{program}/*.py" for program in PROGRAMS))
        if path.name != "catalog.py"
        for line in path.read_text().splitlines()
        if literal.search(line)
    ]

    assert found == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_statements_live_in_sql_files(program: str) -> None:
    statement = re.compile(
        r"[\"'](SELECT (?!1\b|version\(\))"
        r"|(INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|MERGE|MATCH) )"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in tracked(f"{program}/*.py")
        if "engines" not in path.parts
        for line in path.read_text().splitlines()
        if statement.search(line)
    ]

    assert found == []


def test_no_test_module_imports_another() -> None:
    imported = re.compile(r"^\s*(?:from|import) tests\.[\w.]*\btest_\w+", re.MULTILINE)
    found = [
        f"{path.relative_to(ROOT)}: {match[0].strip()}"
        for path in tracked("tests/*.py")
        for match in imported.finditer(path.read_text())
    ]

    assert found == []
