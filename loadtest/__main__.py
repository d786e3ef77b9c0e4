"""Load the platform as its users would, and judge every route by its budget.

Reads `HELIX_URL`, `HELIX_API_KEY` (several keys: separated by commas) and, where the URL is of a
certificate of one's own authority, `HELIX_CA` (its path) from the environment.
Exit code 0: every budget met, 1: not, 2: it was not run.
"""

import argparse
import os
import resource
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from helix.client.transcripts import read
from helix.client.wire import NewMessage
from helix.errors import HelixError
from loadtest.arrivals import Plan
from loadtest.locustfile import Load, run
from loadtest.machine import measure
from loadtest.report import Circumstances, Record, record, show
from loadtest.target import affordable, target

SAID = Path(__file__).parent.parent / "tests" / "data" / "qmsum-sample" / "meeting.json"
TURNS_PER_MESSAGE = 6  # spoken turns are short; so many are as long as a written message
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    found.add_argument("--users", type=int, default=50, help="active at a time, on average")
    found.add_argument("--minutes", type=float, default=3.0, help="measured, after a ramp")
    found.add_argument("--rate", type=float, help="requests per second; default: half the users")
    found.add_argument("--seed", type=int, default=1, help="of the schedule; the same again")
    found.add_argument("--record", type=Path, metavar="FILE", help="write the figures as JSON")
    found.add_argument("--allow-remote", action="store_true", help="load another machine")
    return found


def spoken() -> list[NewMessage]:
    """What the visitors say: a real meeting in messages of usual length."""
    turns = [message.content for transcript in read(SAID) for message in transcript.messages]
    starts = range(0, len(turns), TURNS_PER_MESSAGE)
    texts = [" ".join(turns[start : start + TURNS_PER_MESSAGE]) for start in starts]
    return [NewMessage(role="user", content=text) for text in texts]


def loaded(plan: Plan, *, url: str, api_keys: Sequence[str], ca: str = "") -> Record:
    """One run from its first request to its last answer."""
    load = Load(plan, name=secrets.token_hex(4), api_keys=api_keys, said=spoken())
    machine = measure()
    started_at = datetime.now(UTC)  # noqa: TID251 - the composition root of this command
    began, cpu_before = time.monotonic(), _cpu_s()
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("loading", total=plan.total_s)
        for seconds in run(load, url=url, ca=ca):
            progress.update(bar, completed=seconds)
    cpu = (_cpu_s() - cpu_before) / (time.monotonic() - began)
    circumstances = Circumstances(
        started_at=started_at,
        url=url,
        plan=plan,
        machine=machine,
        planned=load.planned,
        generator_cpu=cpu,
    )
    return record(load.samples, circumstances)


def main(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Run, show, record; the exit code is the verdict."""
    given = parser().parse_args(arguments)
    rate = given.users / 2 if given.rate is None else given.rate
    try:
        plan = Plan(users=given.users, rate=rate, minutes=given.minutes, seed=given.seed)
        url, api_keys = target(env, allow_remote=given.allow_remote)
        ca = env.get("HELIX_CA", "")
        affordable(plan, url=url, api_keys=api_keys, ca=ca)
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    try:
        found = loaded(plan, url=url, api_keys=api_keys, ca=ca)
    except KeyboardInterrupt:
        sys.stderr.write("stopped: nothing is judged\n")
        return INTERRUPTED
    show(found, Console(highlight=False))
    if given.record:
        given.record.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    return 1 if found.faults else 0


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - the composition root
