"""The visitors: Locust's users, each taking the next arrival of the schedule as it gets free.

Locust measures a request from when it is sent. A platform that stalls delays the next request too,
and so hides how long its visitors would have waited; here each request has a moment at which it is
meant to be sent, made beforehand, and its latency counts from there.
"""

import functools
import signal
import ssl
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import gevent
import msgspec
from gevent.event import Event
from locust import FastHttpUser, constant, task
from locust.contrib.fasthttp import ResponseContextManager
from locust.env import Environment
from locust.exception import StopUser

from helix.client.wire import NewMessage, Refused
from loadtest.arrivals import Plan, schedule
from loadtest.journeys.conversations import MESSAGES, Step, Written, journey
from loadtest.verdict import Sample

VISITORS_PER_USER = 3  # arrivals come in clusters, and a slow platform keeps its visitors longer
SPAWNED_PER_S_MAX = 100  # what Locust advises
ANSWER_S_MAX = 35.0  # the platform's own longest deadline, and the way back
DRAIN_S_MAX = 40.0  # for what is still to be answered when the time is over
MS_PER_S = 1000


class Visit(msgspec.Struct, frozen=True):
    """One visitor's journey and when each step of it is due, on the monotonic clock."""

    name: str
    api_key: str
    steps: Sequence[Step]
    due: Sequence[float]
    written: Written


class Load:
    """One run: hands out the visits of the plan and keeps what came of each request."""

    def __init__(
        self, plan: Plan, *, name: str, api_keys: Sequence[str], said: Sequence[NewMessage]
    ) -> None:
        self.plan = plan
        self.samples: list[Sample] = []
        self.visits = 0
        self._name = name
        self._api_keys = api_keys
        self._said = said
        self._random = Random(plan.seed)  # noqa: S311 - a repeatable schedule, no secret
        self._schedule = schedule(plan, self._random)
        self._started_at = time.monotonic()

    @property
    def planned(self) -> int:
        """How many requests fall into the time that is measured."""
        first, end = self.plan.ramp_s, self.plan.total_s
        return sum(first <= moment < end for due in self._schedule for moment in due)

    @property
    def measured_from(self) -> float:
        """When enough visitors are there."""
        return self._started_at + self.plan.ramp_s

    @property
    def ends_at(self) -> float:
        """From when on nothing new is asked."""
        return self._started_at + self.plan.total_s

    def visit(self) -> Visit | None:
        """The next visit that is due; None when all have begun."""
        if self.visits == len(self._schedule):
            return None
        due = self._schedule[self.visits]
        self.visits += 1
        name = f"load-{self._name}-{self.visits}"
        return Visit(
            name=name,
            api_key=self._api_keys[self.visits % len(self._api_keys)],
            steps=journey(name, self._turns()),
            due=[self._started_at + moment for moment in due],
            written=Written(),
        )

    def keep(self, **request: Any) -> None:
        """Locust's hook: one request was answered, or failed."""
        context = request["context"]
        if context["due"] < self.measured_from:
            return
        error = request["exception"]
        service_ms = request["response_time"]
        self.samples.append(
            Sample(
                route=request["name"],
                latency_ms=context["late_ms"] + service_ms,
                service_ms=service_ms,
                error="" if error is None else str(error) or type(error).__name__,
            )
        )

    def _turns(self) -> list[NewMessage]:
        start = self._random.randrange(len(self._said))
        return [self._said[(start + n) % len(self._said)] for n in range(MESSAGES)]


class Visitor(FastHttpUser):
    """Takes the next visit, step by step at the moments they are due."""

    wait_time = constant(0)
    network_timeout = ANSWER_S_MAX
    connection_timeout = ANSWER_S_MAX
    insecure = False  # a certificate that is not trusted is a failure, as it is for everybody
    load: Load  # of the run, set before it starts

    @task
    def visit(self) -> None:
        """One visit; the visitor leaves when there is no more."""
        visit = self.load.visit()
        if visit is None:
            raise StopUser
        for number, (step, due) in enumerate(zip(visit.steps, visit.due, strict=True)):
            if due >= self.load.ends_at:
                raise StopUser
            gevent.sleep(max(0.0, due - time.monotonic()))
            self._take(visit, step, number=number, due=due)

    def _take(self, visit: Visit, step: Step, *, number: int, due: float) -> None:
        late_ms = max(0.0, time.monotonic() - due) * MS_PER_S
        query = "&".join(f"{name}={value}" for name, value in step.call.query.items())
        headers = step.call.headers(f"{visit.name}-{number}")
        with self.client.request(
            step.call.method,
            f"{step.call.path}?{query}" if query else step.call.path,
            name=step.route,
            data=step.call.body.decode() or None,
            headers={"Authorization": f"Bearer {visit.api_key}", **headers},
            catch_response=True,
            context={"due": due, "late_ms": late_ms},
        ) as response:
            step.note(response.status_code, visit.written)
            if wrong := _wrong(step, response, visit.written):
                response.failure(wrong)


def run(load: Load, *, url: str, ca: str = "") -> Iterator[float]:
    """Send the load, telling every second how many seconds are over, until all is answered.

    `KeyboardInterrupt` when somebody ended it before its time.
    """
    stopped = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, stopped.set)
    Visitor.load = load
    Visitor.ssl_context_factory = functools.partial(_trusting, ca)
    environment = Environment(user_classes=[Visitor], host=url, catch_exceptions=False)
    environment.events.request.add_listener(load.keep)
    runner = environment.create_local_runner()
    visitors = load.plan.users * VISITORS_PER_USER
    runner.start(visitors, spawn_rate=min(visitors, SPAWNED_PER_S_MAX))
    try:
        while time.monotonic() < load.ends_at:
            if stopped.wait(timeout=1):
                raise KeyboardInterrupt
            yield load.plan.total_s - max(0.0, load.ends_at - time.monotonic())
        runner.user_greenlets.join(timeout=DRAIN_S_MAX)
    finally:
        runner.quit()


def _trusting(ca: str, cafile: str) -> ssl.SSLContext:
    """Of the authority in `ca`; of the well-known ones in `cafile`, which Locust names, without."""
    return ssl.create_default_context(cafile=ca or cafile)


def _wrong(step: Step, response: ResponseContextManager, written: Written) -> str:
    """Why the answer is not what it must be; empty if it is."""
    content = response.content or b""
    if response.status_code not in step.call.fine:
        return _refused(response.status_code, content)
    try:
        return step.wrong(msgspec.json.decode(content, type=step.call.answer), written)
    except msgspec.DecodeError as error:
        return f"no answer of ours: {error}"


def _refused(status: int, content: bytes) -> str:
    if not status:
        return "no answer"
    try:
        return f"{status} {msgspec.json.decode(content, type=Refused).error.code}"
    except msgspec.DecodeError:
        return str(status)
