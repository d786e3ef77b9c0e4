"""Runs one Pulumi program: started by the language host with the program's own interpreter.

Flags come from the host, configuration in the environment as JSON.
"""

import argparse
import asyncio
import json
import logging
import os
import runpy
import sys
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pulumi
import pulumi.runtime

SHOWN = 32  # failed, and the engine was told why
PARALLEL_MAX = 64  # the engine's default is without bound


def main(env: Mapping[str, str]) -> int:
    """0, or 32 when the engine was told what went wrong, or what the program exited with."""
    flags = _parse()
    os.chdir(flags.pwd)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # the engine shows the errors itself
    pulumi.runtime.reset_options(
        project=flags.project,
        stack=flags.stack,
        root_directory=flags.root_directory,
        parallel=flags.parallel,
        monitor_address=flags.monitor,
        engine_address=flags.engine,
        preview=flags.dry_run == "True",
        organization=flags.organization or "organization",
    )
    pulumi.runtime.set_all_config(
        json.loads(env.get("PULUMI_CONFIG") or "{}"),
        json.loads(env.get("PULUMI_CONFIG_SECRET_KEYS") or "[]"),
    )
    program = Path(flags.program).resolve()
    folder = program if program.is_dir() else program.parent
    sys.path.insert(0, str(folder))
    sys.argv = [str(program)]
    return _run(program, folder, threads=4 * min(max(flags.parallel, 1), PARALLEL_MAX))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    texts = ("monitor", "engine", "project", "stack", "organization", "root-directory", "dry-run")
    for name in texts:
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--pwd", default=".")
    parser.add_argument("--parallel", type=int, default=PARALLEL_MAX)
    parser.add_argument("program")
    return parser.parse_args()


def _run(program: Path, folder: Path, *, threads: int) -> int:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(threads))

    def body() -> None:
        runpy.run_path(str(program), run_name="__main__")

    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(body))
    except BaseException as error:  # noqa: BLE001 - everything a program can raise is told
        return _tell(error, folder)
    finally:
        _close(loop)
    return 0


def _close(loop: asyncio.AbstractEventLoop) -> None:
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
    loop.close()


def _tell(error: BaseException, folder: Path) -> int:
    """Tell the engine what ended the program; the status to exit with."""
    match error:
        case pulumi.RunError():
            pulumi.log.error(str(error))
        case grpc.RpcError() if _code(error) == grpc.StatusCode.UNAVAILABLE:
            pass  # the engine itself is leaving
        case SystemExit(code=int() | None as code):
            return code or 0
        case SystemExit(code=message):
            pulumi.log.error(str(message))
        case _:
            pulumi.log.error(f"Program failed with an unhandled exception:\n{trace(error, folder)}")
    return SHOWN


def _code(error: grpc.RpcError) -> grpc.StatusCode | None:
    return error.code() if isinstance(error, grpc.Call) else None


def trace(error: BaseException, folder: Path) -> str:
    """The traceback from the program's first own line on: how it was started is not its affair."""
    frames = traceback.extract_tb(error.__traceback__)
    own = (i for i, frame in enumerate(frames) if Path(frame.filename).is_relative_to(folder))
    shown = frames[next(own, 0) :]
    lines = [*traceback.format_list(shown), *traceback.format_exception_only(error)]
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main(os.environ))  # noqa: TID251 - a composition root
