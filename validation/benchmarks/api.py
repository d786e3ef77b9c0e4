"""W: what the REST edge costs, beside the server's own speed and beside the usual framework."""

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from helix.adapters.kafka import producer_config
from helix.domain.ids import log_key
from helix.events import encode
from helix.settings import PREFIX, Kafka
from validation.benchmarks import nginx, speech
from validation.benchmarks.costs import Processes, kafka_address, own, servers
from validation.benchmarks.errors import AbsentError
from validation.benchmarks.lab import Lab
from validation.benchmarks.load import (
    KEY,
    TENANT,
    TOPIC_NAME,
    Server,
    flood,
    on_core,
    paced,
    schedule,
    served,
)
from validation.benchmarks.runner import (
    Benchmark,
    Gate,
    Sample,
    Sides,
    counted,
    latency,
    throughput,
)

REQUESTS = 400
WARM_REQUESTS = 200
BATCH_EVENTS = 1_000
BATCHES = 4
BODIES = 1_000
PARTITIONS = 16
RATE_HZ = 500
PACED_REQUESTS = 500
WARM_PACED = 50  # left out of the percentiles
TICK_S = 0.0005
WAIT_S_MAX = 30.0


def request(path: str, body: bytes) -> bytes:
    """The bytes of a POST."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def singles() -> list[bytes]:
    """Requests of one message each."""
    return [
        request(f"/v1/conversations/conversation-{number}/messages", body)
        for number, body in enumerate(speech.bodies(BODIES))
    ]


def batches() -> list[bytes]:
    """A request of many events of many conversations."""
    events = [
        {
            "type": "conversation.message.added",
            "conversation_id": f"conversation-{number}",
            "message": msgspec.Raw(body),
        }
        for number, body in enumerate(speech.bodies(BATCH_EVENTS))
    ]
    return [request("/v1/events/batch", msgspec.json.encode(events))]


NOBODY = Processes(())


def flooded(
    server: Server,
    requests: Sequence[bytes],
    total: int,
    *,
    each: int = 1,
    behind: Processes = NOBODY,
) -> Sample:
    """Events a second; the processor time is that of the server and of what is behind it."""
    involved = server.processes() + behind
    gc.collect()
    with on_core():
        start = involved.read()
        accepted = flood(server, requests, total)
        spent = involved.since(start)
    counted(accepted, total)
    return throughput(total * each, spent)


@contextlib.contextmanager
def warmed(name: str, requests: Sequence[bytes], env: Mapping[str, str]) -> Generator[Server]:
    """That target, past its first requests."""
    with served(name, env) as server:
        flood(server, requests, WARM_REQUESTS)
        yield server


def _env() -> dict[str, str]:
    """What a target needs of our environment: where programs are, and no setting of a stack."""
    return {"PATH": os.defpath}


def against(name: str) -> Callable[[Lab], contextlib.AbstractContextManager[Sides]]:
    """The control plane and that target, each a process of its own on core 0."""

    @contextlib.contextmanager
    def sides(lab: Lab) -> Generator[Sides]:
        del lab
        requests = singles()
        with warmed("ours", requests, _env()) as ours, warmed(name, requests, _env()) as other:
            yield Sides(
                lambda: flooded(ours, requests, REQUESTS),
                lambda: flooded(other, requests, REQUESTS),
            )

    return sides


@contextlib.contextmanager
def w4(lab: Lab) -> Generator[Sides]:
    """The control plane against FastAPI with aiokafka, the broker behind both, and against nginx.

    The limit is a server written in C that decodes nothing; where there is none, it is left out.
    """
    requests = singles()
    broker = servers(kafka_address(lab.settings))
    with contextlib.ExitStack() as stack:
        env = _env() | stack.enter_context(_real_log(lab, "W4"))
        ours, other = (
            stack.enter_context(warmed(name, requests, env)) for name in ("ours", "aiokafka")
        )
        limit = None
        with contextlib.suppress(AbsentError):
            bare = stack.enter_context(nginx.served())
            limit = partial(flooded, bare, requests, REQUESTS)
        yield Sides(
            partial(flooded, ours, requests, REQUESTS, behind=broker),
            partial(flooded, other, requests, REQUESTS, behind=broker),
            limit,
        )


@contextlib.contextmanager
def w7(lab: Lab) -> Generator[Sides]:
    """Events in batches against events one by one, the same program."""
    del lab
    alone, together = singles(), batches()
    with warmed("ours", alone, _env()) as server:
        flood(server, together, 2)
        yield Sides(
            lambda: flooded(server, together, BATCHES, each=BATCH_EVENTS),
            lambda: flooded(server, alone, REQUESTS),
        )


@contextlib.contextmanager
def _real_log(lab: Lab, name: str) -> Generator[dict[str, str]]:
    """A topic of the broker, and the variables by which a target finds it."""
    kafka = lab.settings.kafka
    with lab.topic(name, partitions=PARTITIONS) as topic:
        yield {
            TOPIC_NAME: topic,
            f"{PREFIX}KAFKA__BOOTSTRAP": kafka.bootstrap,
            f"{PREFIX}KAFKA__LINGER_MS": str(kafka.linger_ms),
        }


# One request at a time, through to the broker: W6.


def answered(server: Server, requests: Sequence[bytes]) -> Sample:
    """p95 from the moment a request was due to its answer."""
    gc.collect()
    with on_core():
        start = server.processes().read()
        took = paced(server, requests, rate_hz=RATE_HZ, total=PACED_REQUESTS)
        spent = server.processes().since(start)
    counted(len(took), PACED_REQUESTS)
    return latency(took, spent, warm=WARM_PACED)


def acknowledged(settings: Kafka, topic: str, values: Sequence[tuple[bytes, bytes]]) -> Sample:
    """p95 from the moment a record was due to its acknowledgement."""
    producer = Producer(producer_config(settings), logger=None)
    stopped = threading.Event()
    took: list[float] = []

    def told(due: float) -> Callable[[KafkaError | None, Message], None]:
        def acked(error: KafkaError | None, _: Message) -> None:
            if error is None:
                took.append((time.monotonic() - due) * 1e3)

        return acked

    def poll() -> None:
        while not stopped.is_set():
            producer.poll(0.1)

    thread = threading.Thread(target=poll)
    thread.start()
    gc.collect()
    start, started = own().read(), time.monotonic()
    for number, at in enumerate(schedule(RATE_HZ, PACED_REQUESTS)):
        while (left := started + at - time.monotonic()) > 0:
            time.sleep(min(left, TICK_S))
        key, value = values[number % len(values)]
        producer.produce(topic, value, key, on_delivery=told(started + at))
    producer.flush(WAIT_S_MAX)
    spent = own().since(start)
    stopped.set()
    thread.join()
    counted(len(took), PACED_REQUESTS)
    return latency(took, spent, warm=WARM_PACED)


@contextlib.contextmanager
def w6(lab: Lab) -> Generator[Sides]:
    """A request's way to the broker's acknowledgement against a record's."""
    requests = singles()
    kafka = lab.settings.kafka
    values = [
        (log_key(TENANT, event.conversation_id).encode(), encode(event))
        for event in speech.events(BODIES, BODIES)
    ]
    with _real_log(lab, "W6") as named, warmed("ours", requests, _env() | named) as server:
        topic = named[TOPIC_NAME]
        yield Sides(lambda: answered(server, requests), lambda: acknowledged(kafka, topic, values))


OURS = (
    "the control plane over a log that acknowledges at once: one message of 560 characters a"
    " request, checked, counted in tokens, published and answered"
)
SERVER = "uvicorn on core 0, 32 connections from core 1"
ACCEPTED = f"{REQUESTS:,} answers 202 from the process that was started; {SERVER}"
SERVER_ALONE = "the server"
BENCHMARKS = (
    Benchmark(
        id="W1",
        title="One message a request: what the framework costs",
        a=OURS,
        b="a raw ASGI app that does the same to the message; no key, no limits, no figures",
        unit="requests/s",
        counted=ACCEPTED,
        processes=SERVER_ALONE,
        gate=Gate("at least", 0.5),
        prepare=against("bare"),
        why_missed=(
            "B has no routing, no key, no rate limit, no request id and no figures, and its "
            "request costs half"
        ),
    ),
    Benchmark(
        id="W2",
        title="One message a request: what the choice of framework gains",
        a=OURS,
        b="the same route in FastAPI with pydantic and a key; no limits, no figures",
        unit="requests/s",
        counted=ACCEPTED,
        processes=SERVER_ALONE,
        gate=Gate("at least", 1.3),
        prepare=against("twin"),
    ),
    Benchmark(
        id="W4",
        title="One message a request into the log: what our way gains over FastAPI and aiokafka",
        a="the control plane over the real broker: one message of 560 characters a request,"
        " checked, counted in tokens, published and answered once all replicas have it",
        b="the same route in FastAPI with pydantic, a key and aiokafka: `acks=all`, idempotent,"
        " lz4; no limits, no figures",
        unit="requests/s",
        counted=ACCEPTED,
        processes="the server, the broker",
        gate=Gate("at least", 1.5),
        prepare=w4,
        why_missed="the broker takes 130 us a request from A and 66 us from B, because librdkafka"
        " sends the records of each partition in a request of their own and aiokafka those of all"
        " in one; the servers alone take 356 us and 590 us",
        limit="nginx with `return 202`, which decodes nothing and tells nobody",
    ),
    Benchmark(
        id="W5",
        title="Figures: what they cost",
        a=OURS,
        b="the same control plane without its figures and log lines",
        unit="requests/s",
        counted=ACCEPTED,
        processes=SERVER_ALONE,
        gate=Gate("at least", 0.9),
        prepare=against("unmeasured"),
    ),
    Benchmark(
        id="W6",
        title=f"From request to the broker's acknowledgement at {RATE_HZ} a second, p95",
        a="the control plane over the real broker: a message's request to its answer",
        b="a bare producer with the same settings: a ready record to its acknowledgement",
        unit="ms",
        counted=f"{PACED_REQUESTS:,} acknowledged, each timed from the moment it was due",
        processes="the server; for B, this process",
        judged_by="wall time",
        gate=Gate("at most", 2),
        compared="difference",
        prepare=w6,
    ),
    Benchmark(
        id="W7",
        title="Batches: what they gain",
        a=f"the same control plane, {BATCH_EVENTS:,} events a request to `/v1/events/batch`",
        b=OURS,
        unit="events/s",
        counted=f"answers 202 to {BATCHES} batches and {REQUESTS:,} single messages; {SERVER}",
        processes=SERVER_ALONE,
        gate=None,
        prepare=w7,
    ),
)
