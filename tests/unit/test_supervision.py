"""What supervisord, the launcher and the files around them are told, as values."""

import json
import stat
from pathlib import Path

import pytest

from helix.adapters.probes import Check
from helix.errors import InvalidError
from helix.topology.model import ProbeKind
from infra.launch import Launch
from infra.provider import launcher, layout, programs, reaper
from infra.provider.accounts import account, environment
from infra.provider.files import make_folder, write_private

HOME = Path("/var/lib/helix/unit")
CHECK = Check(service="web", kind=ProbeKind.TEXT, host="127.0.0.1", port=21199)


def web(
    *,
    argv: tuple[str, ...] = ("server",),
    env: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
    digest: str = "",
) -> Launch:
    return Launch(
        name="web", argv=argv, check=CHECK, cwd="/", env=env or {}, files=files or {}, digest=digest
    )


def spec(launch: Launch) -> str:
    return programs.spec(launch, HOME, account())


def program(launch: Launch) -> str:
    return programs.program(launch, HOME, spec_text=spec(launch), launcher=["python", "launcher"])


def test_a_specification_holds_the_whole_environment() -> None:
    told = json.loads(spec(web(env={"PORT": "1", "PATH": "/mine"})))

    assert told["env"].keys() == {"PATH", "LANG", "HOME", "USER", "LOGNAME", "PORT"}
    assert told["env"]["PATH"] == "/mine"


def test_equal_launches_have_equal_program_files() -> None:
    assert program(web(env={"A": "1", "B": "2"})) == program(web(env={"B": "2", "A": "1"}))


@pytest.mark.parametrize(
    "changed",
    [web(argv=("server", "-v")), web(env={"A": "1"}), web(files={"/x": "1"}), web(digest="2")],
    ids=["argv", "env", "files", "digest"],
)
def test_any_change_is_a_change_of_the_program_file(changed: Launch) -> None:
    assert program(changed) != program(web())


def test_no_value_of_a_launch_is_written_into_a_program_file() -> None:
    text = program(web(env={"HARD": "% \" ' ; # \n"}, files={"/x": "password"}))

    assert "HARD" not in text
    assert "password" not in text


def test_a_program_is_restarted_when_it_dies_and_ended_with_its_children() -> None:
    lines = program(web()).splitlines()

    assert lines[0] == "[program:web]"
    assert {"autorestart = true", "stopasgroup = true", "killasgroup = true"} < set(lines)
    assert {"stdout_logfile_maxbytes = 10MB", "stdout_logfile_backups = 2"} < set(lines)


def test_supervisord_asks_for_no_more_files_than_it_may_open() -> None:
    assert "minfds = 4096" in programs.supervisor(HOME, user="root", open_files_max=4096)
    assert "minfds = 16384" in programs.supervisor(HOME, user="root", open_files_max=1_000_000)


def test_a_secret_reaches_environment_files_and_probe() -> None:
    launch = Launch(
        name="web",
        argv=("server",),
        check=Check(
            service="web",
            kind=ProbeKind.REDIS,
            host="127.0.0.1",
            port=1,
            password="${secret:redis}",
        ),
        cwd="/",
        env={"PW": "a ${secret:redis} b"},
        files={"/x": "${secret:one}${secret:two}"},
    )

    whole = programs.resolved(launch, lambda name: f"<{name}>")

    assert whole.env == {"PW": "a <redis> b"}
    assert whole.files == {"/x": "<one><two>"}
    assert whole.check.password == "<redis>"


def test_a_secret_in_an_argument_list_is_refused() -> None:
    with pytest.raises(InvalidError, match="hand the secret over in `env` or `files`"):
        programs.resolved(web(argv=("server", "--password=${secret:a}")), str)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "../x", "-x"])
def test_a_name_supervisord_cannot_take_is_refused(name: str) -> None:
    assert "use letters, digits" in programs.refused(name, [["server"]])


def test_a_home_too_long_for_a_socket_is_refused_with_the_number_of_bytes() -> None:
    longest = "/" + "a" * (layout.SOCKET_BYTES_MAX - len("//run/socket"))

    assert layout.home_at(longest) == Path(longest)
    with pytest.raises(InvalidError, match="3 bytes too long"):
        layout.home_at(longest + "bcd")


@pytest.mark.parametrize("text", ["relative", "/with space", "/a;b", '/a"b', "/a\nb", ""])
def test_a_home_that_breaks_a_configuration_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="give an absolute path"):
        layout.home_at(text)


def test_an_account_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidError, match="`nobody-of-that-name` does not exist"):
        account("nobody-of-that-name")


def test_nothing_of_the_callers_environment_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "1")

    assert "LEAKED" not in environment(account(), {})


def test_a_private_file_is_whole_private_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"

    write_private(path, "one")
    write_private(path, "two\r\n")

    assert path.read_bytes() == b"two\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_folders_on_the_way_can_be_passed_and_the_last_is_private(tmp_path: Path) -> None:
    make_folder(tmp_path / "way" / "mine")

    assert stat.S_IMODE((tmp_path / "way").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "way" / "mine").stat().st_mode) == 0o700


def test_starts_are_counted_and_only_the_recent_kept(tmp_path: Path) -> None:
    for _ in range(launcher.RECENT_STARTS + 3):
        launcher.note_start(tmp_path / "web.json")

    note = json.loads((tmp_path / "web.json").read_text())
    assert note["count"] == launcher.RECENT_STARTS + 3
    assert len(note["recent"]) == launcher.RECENT_STARTS


def test_a_torn_count_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "web.json").write_text("{")

    launcher.note_start(tmp_path / "web.json")

    assert json.loads((tmp_path / "web.json").read_text())["count"] == 1


def test_a_pid_noted_for_an_earlier_process_is_not_ours(tmp_path: Path) -> None:
    layout.make(tmp_path)
    launcher.note_start(layout.start(tmp_path, "web"))
    note = json.loads(layout.start(tmp_path, "web").read_text())
    assert reaper.leftovers(tmp_path) == {note["pid"]}

    layout.start(tmp_path, "web").write_text(json.dumps({**note, "born": note["born"] - 1}))

    assert reaper.leftovers(tmp_path) == set()
