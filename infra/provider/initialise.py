"""Commands run before a start; one for the first alone that was interrupted leaves no half data."""

import json
import shutil
import threading
from pathlib import Path

from helix.errors import UnavailableError
from infra.launch import Init, Launch
from infra.provider import layout
from infra.provider.files import write_private
from infra.provider.runs import Run, run_to_end


def initialise(home: Path, launch: Launch, *, stopping: threading.Event) -> None:
    """Every `init` of the launch has been run to its end, in order.

    Those without `unless` are run again each time the launch is applied; supervisord's own restart
    of a process that died finds what they made.
    """
    for number, init in enumerate(launch.init):
        if not init.unless:
            run_to_end(home, _command(launch, number, init), stopping=stopping)
        elif not _done(layout.begun(home, launch.name, number), Path(init.unless)):
            _once(home, launch, number, init, stopping=stopping)


def _done(begun: Path, unless: Path) -> bool:
    """Data without any marker was made elsewhere, a restored backup for one: it stands."""
    return unless.exists() and not begun.exists()


def _once(
    home: Path, launch: Launch, number: int, init: Init, *, stopping: threading.Event
) -> None:
    begun = layout.begun(home, launch.name, number)
    if begun.exists():
        _undo(begun)
    write_private(begun, json.dumps(_before(launch, Path(init.unless))))
    command = _command(launch, number, init)
    run_to_end(home, command, stopping=stopping)
    if not Path(init.unless).exists():
        raise UnavailableError(
            launch.name,
            f"`{launch.name}`: `{init.argv[0]}` ended well but did not make `{init.unless}`; "
            f"read `{layout.log(home, command.name)}`",
        )
    begun.unlink()


def _command(launch: Launch, number: int, init: Init) -> Run:
    return Run(
        name=f"{launch.name}-init-{number}",
        argv=init.argv,
        cwd=launch.cwd,
        env={**launch.env, **init.env},
        user=launch.user,
    )


def _before(launch: Launch, unless: Path) -> dict[str, list[str]]:
    """What is not there yet, so that exactly what the command makes can be told from the rest."""
    empty = [folder for folder in launch.folders if not any(Path(folder).iterdir())]
    missing = [str(path) for path in (unless, *unless.parents) if not path.exists()]
    return {"empty": empty, "missing": missing[-1:]}


def _undo(begun: Path) -> None:
    before = json.loads(begun.read_text())
    for folder in map(Path, before["empty"]):
        for entry in folder.iterdir() if folder.exists() else ():
            _remove(entry)
    for path in map(Path, before["missing"]):
        if path.exists():
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
