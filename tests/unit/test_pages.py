"""What the pages say is there: links, commands, targets, settings."""

import importlib.util
import re
from pathlib import Path

import msgspec
import pytest

from docs import generate
from infra.substrates.wanted import Host, Wanted
from tests.tree import ROOT, tracked

PAGES = tracked("*.md")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
MODULE = re.compile(r"python -m ([a-z_][\w.]*)")
TARGET = re.compile(r"(?:`|\$ |, )make (?:-s )?([a-z][a-z-]*)")
KEY = re.compile(r"helix:([a-z_]+)")
NAMES = {field.name for field in msgspec.structs.fields(Wanted)}


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    """Every page of the tree."""
    return request.param


def test_every_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_command_of_a_page_is_there(page: Path) -> None:
    modules = set(MODULE.findall(page.read_text()))

    assert [name for name in sorted(modules) if importlib.util.find_spec(name) is None] == []


def test_every_target_of_a_page_is_in_the_makefile(page: Path) -> None:
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert sorted(set(TARGET.findall(page.read_text())) - set(known)) == []


def test_every_setting_of_a_page_is_one_of_a_stack(page: Path) -> None:
    assert sorted(set(KEY.findall(page.read_text())) - NAMES) == []


def test_the_page_of_settings_has_every_key_of_a_stack_and_of_a_server() -> None:
    shown = [row[0].strip("`") for grid in generate.settings() for row in grid.rows]

    assert shown == [
        *(f"helix:{field.name}" for field in msgspec.structs.fields(Wanted)),
        *(field.name for field in msgspec.structs.fields(Host)),
    ]


def test_a_setting_is_shown_with_its_choices_its_default_and_its_comment() -> None:
    rows = {row[0]: row[1:] for grid in generate.settings() for row in grid.rows}

    assert rows["`helix:sizes`"][:2] == ("`production` or `laptop`", "`production`")
    assert rows["`helix:disabled`"] == ("JSON list", "`[]`", "services that are not run")
    assert rows["`engine`"][1] == "must be given"
