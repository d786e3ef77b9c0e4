"""What was acknowledged, and whether every store has it once and in order."""

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from helix.adapters import postgres
from helix.client.rest import Client
from helix.events import ConversationEvent, MessageAdded
from helix.ports import Credential
from tests.integration.chaos import Killer, Meeting, Progress, Teller, Told
from tests.integration.live import (
    caught_up,
    clickhouse_rows,
    name,
    postgres_rows,
    said,
)
from tests.integration.running import Running
from tests.tree import ROOT
from tests.waiting import until

ENV = dict(os.environ)  # noqa: TID251 - the composition root of these tests
FULL = ENV.get("HELIX_FAULTS") == "full"
SEED = ENV.get("HELIX_SEED", "20")
SAMPLE = ROOT / "tests" / "data" / "qmsum-sample" / "meeting.json"
CLIENTS = 4
KILLS = 30 if FULL else 6
SAMPLES = 6  # copies of the sample meeting where no corpus is given
HOUR_US = 3_600_000_000


def meetings() -> list[Meeting]:
    """The corpus where one is given, else the sample several times."""
    if "HELIX_CORPUS" in ENV:
        lines = Path(ENV["HELIX_CORPUS"]).read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Meeting) for line in lines if line]
    return [msgspec.json.decode(SAMPLE.read_bytes(), type=Meeting)] * SAMPLES


def key_of(stack: Running, tenant: str) -> str:
    """A new API key of the tenant: each may ask as often as one client may."""
    key = name()
    credential = Credential(key, tenant, frozenset({"read", "write", "analytics"}))
    with contextlib.closing(postgres.Session(stack.settings.postgres)) as session:
        postgres.put_api_key(session, credential, sha256(key.encode()).hexdigest())
    return key


def replayed(api: Client, meeting: Told) -> list[tuple[int, str, str]]:
    """Number, speaker and words of every turn that comes back."""
    return [
        (message.metadata.custom["number"], message.metadata.name, message.content)
        for message in api.replay(meeting.conversation_id).messages
    ]


def survived(stack: Running) -> str:
    """Several clients tell meetings while servers are killed; what the run was, in figures."""
    run = tenant = name()
    told = [Told(f"{run}-{n}", m.meeting_transcripts) for n, m in enumerate(meetings())]
    progress = Progress(sum(len(meeting.turns) for meeting in told))
    killer = Killer(stack, KILLS, SEED)
    tellers = [
        Teller(stack, key_of(stack, tenant), progress, f"{SEED}-{n}") for n in range(CLIENTS)
    ]
    began = time.monotonic()

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        work = [pool.submit(t.tell, told[n::CLIENTS]) for n, t in enumerate(tellers)]
        work.append(pool.submit(killer.run, progress))
        for task in work:
            task.result()
    took_s = time.monotonic() - began
    until(lambda: caught_up(stack), what="the workers caught up")

    with Client(stack.url, key_of(stack, tenant), ca=stack.ca) as api:
        replays = {meeting.conversation_id: replayed(api, meeting) for meeting in told}
    found = [line for m in told for line in m.differences(replays[m.conversation_id])]
    assert found == []
    assert sum(killer.kills.values()) == KILLS
    whole = sum(map(len, replays.values()))
    assert held(stack, tenant) == (whole, whole, whole)
    assert hours(stack, tenant) == hours_of_the_log(stack, tenant)
    acknowledged = sum(len(meeting.acknowledged) for meeting in told)
    doubtful = sum(len(meeting.doubtful) for meeting in told)
    return (
        f"seed {SEED}: {acknowledged} turns acknowledged, {doubtful} in doubt,"
        f" {took_s:.0f} s, killed {dict(killer.kills)}"
    )


def warm(stack: Running, tenant: str) -> list[tuple[Any, ...]]:
    """The tenant's rows of the warm copy: conversation, epoch, partition, offset, event id."""
    return sorted(
        clickhouse_rows(
            stack,
            "SELECT epoch, partition, offset, event_id FROM conversation_events"
            " WHERE tenant = {tenant:String}",
            tenant=tenant,
        )
    )


def of_the_log(stack: Running, tenant: str) -> list[tuple[Any, ...]]:
    """What these rows must be, from the log alone."""
    return sorted(
        (s.position.epoch, s.position.partition, s.position.offset, s.event.event_id)
        for s in said(stack, tenant)
    )


def hours(stack: Running, tenant: str) -> list[tuple[Any, ...]]:
    """The tenant's rollup by hour: events, messages, tokens, conversations."""
    return clickhouse_rows(
        stack,
        "SELECT toUnixTimestamp(hour), sum(events), sum(messages), sum(tokens),"
        " uniqMerge(conversations) FROM conversation_hours"
        " WHERE tenant = {tenant:String} GROUP BY hour ORDER BY hour",
        tenant=tenant,
    )


def hours_of_the_log(stack: Running, tenant: str) -> list[tuple[Any, ...]]:
    """What that must be, from the log alone."""
    by_hour: dict[int, list[ConversationEvent]] = {}
    for stored in said(stack, tenant):
        event = stored.event
        assert isinstance(event, ConversationEvent)
        by_hour.setdefault(event.ingested_at // HOUR_US * HOUR_US // 1_000_000, []).append(event)
    return [
        (
            hour,
            len(events),
            sum(isinstance(event, MessageAdded) for event in events),
            sum(event.message.tokens for event in events if isinstance(event, MessageAdded)),
            len({event.conversation_id for event in events}),
        )
        for hour, events in sorted(by_hour.items())
    ]


def held(stack: Running, tenant: str) -> tuple[int, int, int]:
    """Messages in the tenant's states; rows and distinct events in its warm copy."""
    [[messages]] = postgres_rows(
        stack,
        "SELECT coalesce(sum(message_count), 0)::int FROM conversations WHERE tenant = %(tenant)s",
        tenant=tenant,
    )
    rows = warm(stack, tenant)
    return messages, len(rows), len({row[-1] for row in rows})
