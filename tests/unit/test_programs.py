"""Every outside program that is started stands in the table, with the package that brings it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from helix.errors import UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.model import Debian
from infra.artifacts.commands import Commands
from infra.artifacts.workshop import Workshop
from infra.toolchain import programs
from infra.toolchain.programs import PROGRAMS, Program, Target, lacking, needed, packages
from tests.tree import ROOT, tracked

# Functions whose first argument is a command, or the name of a program to look for.
STARTERS = {"run", "Popen", "check_output", "check_call", "call", "attempt", "exec_run", "execvpe"}
FINDERS = {"which", "find", "require"}
PROGRAM = re.compile(r"[a-z][\w.+-]*")
OURS = re.compile(r"(infra|runtime|controlplane|validation|loadtest|tests)\b")
# First words of command lines of our own, of Pulumi's and of servers' tools, and of tables.
WORDS = {
    *("bury", "check", "config", "destroy", "format", "http", "issue", "letters", "mirror"),
    *("namespace", "parent", "replay", "revoke", "rotate", "server", "stack", "up", "users", "x"),
}
# Programs that artifacts and wheels bring, or that are looked for and made where they lack.
MADE = {"go", "pulumi"}


def started(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every program that a module starts by a literal command line."""
    for node in ast.walk(ast.parse(source)):
        name = first_word(node)
        if name and PROGRAM.fullmatch(name) and not OURS.match(name) and name not in WORDS:
            yield getattr(node, "lineno", 0), name


def first_word(node: ast.AST) -> str:
    """The program of a command that this node is, or of a call that starts or looks for one."""
    if isinstance(node, ast.List | ast.Tuple) and any(map(is_option, node.elts[1:])):
        return literal(node)
    if isinstance(node, ast.Call) and node.args:
        function, argument = node.func, node.args[0]
        called = function.attr if isinstance(function, ast.Attribute) else ""
        called = function.id if isinstance(function, ast.Name) else called
        if called in FINDERS:
            return text(argument)
        if called in STARTERS and isinstance(argument, ast.List | ast.Tuple | ast.BinOp):
            return literal(argument)
    return ""


def literal(node: ast.AST) -> str:
    """The first word of a literal sequence, empty where it is none."""
    if isinstance(node, ast.Starred):
        return literal(node.value)
    if isinstance(node, ast.BinOp):
        return literal(node.left)
    if isinstance(node, ast.List | ast.Tuple):
        return literal(node.elts[0]) if node.elts else ""
    return text(node)


def text(node: ast.AST) -> str:
    """The text of a literal, empty where it is none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def is_option(node: ast.AST) -> bool:
    """Whether it is a literal option, or a sequence that has one."""
    if isinstance(node, ast.Starred):
        return is_option(node.value)
    if isinstance(node, ast.List | ast.Tuple):
        return any(map(is_option, node.elts))
    if isinstance(node, ast.JoinedStr) and node.values:
        return is_option(node.values[0])
    return isinstance(node, ast.Constant) and str(node.value).startswith("-")


def test_every_program_that_is_started_is_declared() -> None:
    known = {program.name for program in PROGRAMS} | MADE
    undeclared = [
        f"{path.relative_to(ROOT)}:{line} starts `{name}`: declare it in"
        " infra/toolchain/programs.py, with its package and the targets that need it"
        for path in tracked("*.py")
        for line, name in started(path.read_text())
        if name not in known
    ]

    assert undeclared == []


@pytest.mark.parametrize(
    "source",
    [
        'subprocess.run(["tcpdump", "x"])',
        'call(("tcpdump", "x"))',
        'argv = ["tcpdump", f"--port={port}"]',
        'shutil.which("tcpdump")',
        'run(["tcpdump", *more] + rest)',
    ],
)
def test_a_program_that_nobody_declared_is_found(source: str) -> None:
    assert [name for _, name in started(source)] == ["tcpdump"]


def test_every_declared_program_is_started_or_runs_in_a_container() -> None:
    sources = "\n".join(path.read_text() for path in tracked("*.py", "*.sh", "Makefile"))
    unused = [
        program.name
        for program in PROGRAMS
        if Target.IMAGE not in program.targets
        and not re.search(rf"(?<!name=)[\"'\s(]{re.escape(program.name)}[\"'\s)]", sources)
    ]

    assert unused == []


def test_a_program_stands_once_and_names_its_package() -> None:
    names = [program.name for program in PROGRAMS]

    assert len(names) == len(set(names))
    assert all(program.package and program.purpose for program in PROGRAMS)


def test_a_target_needs_what_it_includes() -> None:
    fleet = {program.name for program in needed(Target.FLEET)}

    assert {"git", "dockerd", "mmdebstrap"} <= fleet
    assert fleet <= {program.name for program in needed(Target.TEST_FLEET)}
    assert {program.name for program in needed(Target.TEST)} >= {"iptables", "ldd", "sleep"}
    assert "nginx" not in {program.name for program in needed(Target.TEST)}


def test_a_package_of_several_programs_is_installed_once() -> None:
    assert packages(needed(Target.TEST_FLEET)).count("iptables") == 1


def test_servers_stand_in_the_catalogue_alone() -> None:
    servers = {
        package for one in CATALOG.artifacts if isinstance(one, Debian) for package in one.packages
    }

    assert servers.isdisjoint(packages(PROGRAMS))


def test_a_program_that_lacks_is_named_with_its_package_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands({"PATH": str(tmp_path)})
    absent = Program(name="iptables", package="iptables", purpose="closes ports")
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert lacking([absent], commands) == [absent]
    with pytest.raises(UnavailableError, match=r"`iptables` must be installed .*apt-get install"):
        programs.ensure([absent], Workshop(tmp_path, lambda _: None, commands))
