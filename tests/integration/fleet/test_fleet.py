"""Three servers: every container healthy, nobody let in, whatever is lost nothing acknowledged is.

`HELIX_FLEET=fleet` runs these tests against the fleet of `make fleet` and leaves it there.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from helix.adapters import lake
from helix.adapters.kafka import Epochs
from helix.adapters.probes import Check
from helix.client.rest import Client
from helix.client.wire import NewMessage
from helix.errors import UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.check import impaired_without, stopped_with
from helix.topology.model import ProbeKind
from infra.drift.looking import look
from infra.drift.model import Kind
from infra.fleet import engines, faults
from infra.fleet.faults import Cut
from infra.fleet.plan import SUBNET as SUBNET_OF_MAKE
from loadtest.report import Record
from tests.contract.promises import TOPIC
from tests.integration.fleet.deployed import HEALTHY_S_MAX, NAME, SUBNET, Deployed, deployed
from tests.integration.fleet.strangers import TRIES, Papers, Tried, answered, ports, reached
from tests.integration.live import caught_up, name, not_rolled_out, refused
from tests.integration.planted import PLANTED, bootstrap
from tests.integration.survival import held, key_of, survived
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

KINDS = {ProbeKind.POSTGRES, ProbeKind.REDIS, ProbeKind.KAFKA, ProbeKind.BOLT}
LIMITS_MIB = {"prometheus": 224, "redis": 192}
USERS_FLEET = os.environ.get("HELIX_FLEET", "")  # noqa: TID251 - a switch of these tests
MIB = 1024 * 1024
CUT_S_MAX = 60.0
PAUSE_S = 0.2
PACE_S = 0.05  # between messages: it goes on all the time, and leaves the processor to others
FIRST, MORE = 20, 20  # messages
LOAD_MINUTES = "0.3"
ASKING_S, ASKING_SHARE_MAX = 15.0, 0.25  # with the writer's part of this process


@pytest.fixture(scope="module")
def fleet() -> Iterator[Deployed]:
    """Three servers with the whole platform on them."""
    chosen = (USERS_FLEET, SUBNET_OF_MAKE) if USERS_FLEET else (NAME, SUBNET)
    with deployed(*chosen, keep=bool(USERS_FLEET)) as running:
        yield running


def test_every_container_is_healthy_and_a_second_up_would_change_nothing(fleet: Deployed) -> None:
    planned = {one.name for one in fleet.instances()}

    assert set(fleet.containers()) == planned
    assert fleet.well(planned)
    fleet.run("infra.stack", "pulumi", *fleet.chosen, "--", "preview", "--expect-no-changes")


def test_a_stranger_reaches_no_port_that_is_for_the_servers_alone(fleet: Deployed) -> None:
    tried = ports(fleet, exposed=False)

    with ThreadPoolExecutor(16) as pool:
        hosts = [fleet.host(server).address for _, server, _ in tried]
        open_ = list(pool.map(reached, hosts, [at.port for _, _, at in tried]))
    assert tried
    assert [port for (port, _, _), taken in zip(tried, open_, strict=True) if taken] == []


def test_a_stranger_without_credentials_is_let_in_nowhere(fleet: Deployed) -> None:
    tried = ports(fleet, exposed=True)

    with ThreadPoolExecutor(16) as pool:
        let_in = list(pool.map(entered, tried, [fleet.ca] * len(tried)))

    assert {port for port, _, _ in tried} == set(TRIES)
    assert [port for (port, _, _), was in zip(tried, let_in, strict=True) if was] == []


def entered(tried: Tried, ca: str) -> bool:
    """Whether somebody without credentials is let in there."""
    port, _, at = tried
    return TRIES[port](at, ca)


def test_nobody_is_answered_in_plain_or_under_another_authority(
    fleet: Deployed, tmp_path: Path
) -> None:
    papers, tried = Papers(tmp_path), ports(fleet, exposed=True)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(believed, [papers] * len(tried), tried))

    assert tried
    assert [fault for faults in found for fault in faults] == []


def believed(papers: Papers, tried: Tried) -> list[str]:
    """How somebody in plain, or under another authority, is answered at that port."""
    (service, port), _, at = tried
    probe = CATALOG.service(service).probe
    kind = probe.kind if probe.port == port and probe.kind in KINDS else ProbeKind.HTTP
    check = Check(service=service, kind=kind, host=at.host, port=at.port, path="/")
    stranger = msgspec.structs.replace(
        check, ca=papers.ca, certificate=papers.certificate, key=papers.key
    )
    # In plain PostgreSQL's client asks for TLS by itself.
    plain = kind is not ProbeKind.POSTGRES and answered(check)
    return [
        *([f"`{service}` answers in plain"] if plain else []),
        *([f"`{service}` is believed under another authority"] if answered(stranger) else []),
    ]


def test_prometheus_gets_the_figures_of_every_service(fleet: Deployed) -> None:
    until(lambda: set(scraped(fleet).values()) == {"up"}, what="every target is up")

    assert {one.service for one in fleet.instances() if CATALOG.service(one.service).metrics} == {
        job for job, _ in scraped(fleet)
    }


def scraped(fleet: Deployed) -> dict[tuple[str, str], str]:
    """How every target of Prometheus is, by its job and address."""
    (one,) = fleet.outputs.services["prometheus"]
    ask = ["wget", "-q", "-O", "-", f"http://{one.ports['http']}/api/v1/targets"]
    with engines.client(fleet.host(one.server)) as client:
        container = client.containers.get(f"{fleet.stack.name}-prometheus")
        answer = container.exec_run(ask).output
    assert isinstance(answer, bytes)
    found = msgspec.json.decode(answer)["data"]["activeTargets"]
    return {(one["labels"]["job"], one["scrapeUrl"]): one["health"] for one in found}


def test_a_load_test_meets_no_error_at_the_first_server(fleet: Deployed, tmp_path: Path) -> None:
    record = tmp_path / "load.json"
    python = str(fleet.root / ".venv/bin/python")
    load = ("-m", "loadtest", "--users", "6", "--minutes", LOAD_MINUTES, "--allow-remote")

    command = fleet.start(
        *("infra.stack", "exec", *fleet.chosen, "--", python, *load, "--record", str(record))
    )
    output, _ = command.communicate(timeout=300)

    assert record.exists(), output
    found = msgspec.json.decode(record.read_bytes(), type=Record)
    assert found.url.startswith(f"https://{fleet.host('server-1').address}:")
    assert found.sent > 0
    assert found.errors == [], output


def test_what_was_acknowledged_survives_killed_containers(
    fleet: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = survived(fleet)

    with capsys.disabled():
        print(f"\n{figures}")  # noqa: T201 - the figures of the run


class Writer(threading.Thread):
    """A client that says one message after another, each until it is acknowledged."""

    def __init__(self, fleet: Deployed, tenant: str, conversation: str) -> None:
        super().__init__()
        self.conversation = conversation
        self.acknowledged: list[int] = []
        self._key = ""
        self._api = Client(fleet.url, key_of(fleet, tenant), keys=lambda: self._key, ca=fleet.ca)
        self._stopped = threading.Event()

    def run(self) -> None:
        number = 0
        with self._api:
            while not self._stopped.is_set():
                if self._said(number):
                    self.acknowledged.append(number)
                    number += 1
                    self._stopped.wait(PACE_S)

    def _said(self, number: int) -> bool:
        self._key = f"{self.conversation}-{number}"
        message = NewMessage(role="user", content=f"number {number}", metadata={"number": number})
        try:
            self._api.add_messages(self.conversation, [message])
        except UnavailableError:
            self._stopped.wait(PAUSE_S)
            return False
        return True

    def stop(self) -> None:
        """Once the message at hand is acknowledged or given up."""
        self._stopped.set()
        self.join()


@contextlib.contextmanager
def writing(fleet: Deployed) -> Generator[Writer]:
    """A client at work; afterwards everything it was acknowledged is there once and in order."""
    fleet.recovered()
    tenant = conversation = name()
    writer = Writer(fleet, tenant, conversation)
    writer.start()
    try:
        until(
            lambda: len(writer.acknowledged) > FIRST, what="the first messages", s_max=HEALTHY_S_MAX
        )
        yield writer
    finally:
        writer.stop()
    until(lambda: caught_up(fleet), what="the workers caught up", s_max=HEALTHY_S_MAX)
    with Client(fleet.url, key_of(fleet, tenant), ca=fleet.ca) as api:
        messages = api.replay(conversation).messages
    numbers = [message.metadata.custom["number"] for message in messages]
    # The last one may have been given up after it was published.
    assert numbers in (writer.acknowledged, [*writer.acknowledged, len(writer.acknowledged)])
    assert held(fleet, tenant) == (len(numbers),) * 3


@pytest.mark.parametrize("server", [server.name for server in CATALOG.servers])
def test_a_lost_server_stops_what_was_predicted_and_loses_nothing(
    fleet: Deployed, server: str
) -> None:
    stopped, impaired = stopped_with(CATALOG, server), impaired_without(CATALOG, server)
    there = fleet.instances()
    gone = [one for one in there if one.server == server]
    kept = {one.name for one in there if one.server != server and one.service not in impaired}

    with writing(fleet) as writer:
        with faults.while_dark(fleet.host(server)), ThreadPoolExecutor() as pool:
            before = len(writer.acknowledged)
            failing = pool.submit(failures, fleet)  # its clients try again for a while
            assert asking(fleet) < ASKING_SHARE_MAX
            assert not [one.name for one in gone if reached(one.at.host, one.at.port)]
            if "control-plane" in stopped:
                assert len(writer.acknowledged) <= before + 1
            else:
                goes_on(writer, before)
            fleet.recovered(kept)
            assert impaired & set(USES) <= set(failing.result())
            assert set(failing.result()) <= stopped | impaired, failing.result()
        fleet.recovered()
        goes_on(writer, len(writer.acknowledged))


def goes_on(writer: Writer, after: int) -> None:
    """Wait until more messages are acknowledged than there were."""
    until(
        lambda: len(writer.acknowledged) > after + MORE,
        what="messages go on",
        s_max=HEALTHY_S_MAX,
    )


def asking(fleet: Deployed) -> float:
    """The share of a core that it takes to ask after a topic, as every pipeline does."""
    epochs = Epochs(fleet.settings.kafka)
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() < began + ASKING_S:
        epochs.glimpse(TOPIC)
        time.sleep(PAUSE_S)
    return (time.process_time() - used) / ASKING_S


def read(fleet: Deployed) -> None:
    """List conversations at the API."""
    with Client(fleet.url, fleet.api_key, ca=fleet.ca) as api:
        api.conversations(limit=1)


def list_namespaces(fleet: Deployed) -> None:
    """Ask the lake's catalogue what it holds."""
    assert lake.ensure(fleet.settings.iceberg, CATALOG.namespaces) == []


# What a service that still answers its probe is asked to do.
USES: dict[str, Callable[[Deployed], None]] = {
    "control-plane": read,
    "iceberg-rest": list_namespaces,
}


def failures(fleet: Deployed) -> dict[str, str]:
    """What cannot do its work, and what it says of it."""
    found: dict[str, str] = {}
    for service, use in USES.items():
        try:
            use(fleet)
        except UnavailableError as error:
            found[service] = str(error)
    return found


def test_a_broker_cut_off_from_its_peers_loses_nothing(fleet: Deployed) -> None:
    server = "server-3"

    with writing(fleet) as writer:
        with faults.while_cut(fleet.fleet, fleet.host(server), off=Cut.PEERS):
            until(lambda: fleet.fenced(server), what="its peers go on without it", s_max=CUT_S_MAX)
            goes_on(writer, len(writer.acknowledged))
        fleet.recovered()
        goes_on(writer, len(writer.acknowledged))


def test_drift_of_every_kind_is_named_and_mended_by_an_up_that_touches_what_changed_alone(
    fleet: Deployed,
) -> None:
    env = fleet.stack.pulumi.env
    stores = [one for one in PLANTED if one.kind in {"topic", "ddl", "index", "bucket_policy"}]
    before = fleet.ids()

    assert look(fleet.stack.wanted(), env, fleet.stack.name).drifts == ()
    for one in stores:
        one.plant(fleet)
    with engines.client(fleet.host("server-1")) as client:
        redis = client.containers.get(f"{fleet.stack.name}-redis")
        redis.update(mem_limit=300 * MIB, memswap_limit=300 * MIB)
        exporter = client.containers.get(f"{fleet.stack.name}-redis-exporter")
        exporter.stop()
    try:
        with not_rolled_out(fleet, "spark"):
            report = look(fleet.stack.wanted(), env, fleet.stack.name)
    finally:
        exporter.start()
        for one in stores:
            one.undo(fleet)
        bootstrap(fleet)
    with configured(fleet, "memory_mib", json.dumps(LIMITS_MIB)):
        fleet.apply_changes("--refresh")
        after = fleet.ids()
        redis.reload()
        mended = look(fleet.stack.wanted(), env, fleet.stack.name)

    assert {drift.kind for drift in report.drifts} == set(Kind)
    assert {(one.kind, one.name) for one in stores} <= {(d.kind, d.name) for d in report.drifts}
    assert mended.drifts == ()
    # What Prometheus is told depends on its limit; Redis' container is given another one as it is.
    assert {one for one in before if before[one] != after[one]} == {"prometheus"}
    assert redis.attrs["HostConfig"]["Memory"] == LIMITS_MIB["redis"] * MIB


@contextlib.contextmanager
def configured(fleet: Deployed, key: str, value: str) -> Generator[None]:
    """The stack with another setting; afterwards its next `up` gives back what was."""
    pulumi = ("infra.stack", "pulumi", *fleet.chosen, "--", "config")
    fleet.run(*pulumi, "set", f"helix:{key}", value)
    try:
        yield
    finally:
        fleet.run(*pulumi, "rm", f"helix:{key}")


def test_every_password_changes_under_writing_and_the_old_ones_open_nothing(
    fleet: Deployed,
) -> None:
    old = fleet.settings
    with writing(fleet) as writer:
        fleet.run("infra.passwords", "rotate", *fleet.chosen)
        fleet.apply_changes()
        goes_on(writer, len(writer.acknowledged))

    kept = {"kafka", "postgres", "neo4j", "rabbitmq"}
    assert refused(old, fleet.settings, kept) == kept
    fleet.run("infra.stack", "pulumi", *fleet.chosen, "--", "preview", "--expect-no-changes")
