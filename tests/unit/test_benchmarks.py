import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from helix.errors import InvalidError, UnavailableError
from helix.events import decode
from helix.settings import Settings
from validation.benchmarks import (
    __main__,
    byhand,
    compression,
    costs,
    kafka,
    load,
    record,
    speech,
)
from validation.benchmarks.__main__ import ALL, chosen
from validation.benchmarks.costs import Processes, Reading, Spent
from validation.benchmarks.errors import AbsentError, VoidError
from validation.benchmarks.lab import Lab
from validation.benchmarks.machine import Machine
from validation.benchmarks.runner import (
    VOID_MAX,
    Aside,
    Benchmark,
    Comparison,
    Gate,
    Measure,
    Result,
    Sample,
    Sides,
    Verdict,
    lasting,
    latency,
    mean,
    order,
    percentile,
    play_round,
    rate,
    run,
    throughput,
    verdict,
    width,
)
from validation.benchmarks.statistic import (
    LOOKS,
    ROUNDS_MAX,
    ROUNDS_MIN,
    Interval,
    difference_interval,
    ratio_interval,
)

LAB = Lab(Settings())
TWICE = Gate("at least", 2)


def benchmark(
    sides: Sides,
    *,
    pairs: int = 1,
    gate: Gate | None = TWICE,
    judged_by: Measure = "CPU time",
    compared: Comparison = "ratio",
) -> Benchmark:
    @contextmanager
    def prepare(lab: Lab) -> Generator[Sides]:
        del lab
        yield sides

    return Benchmark(
        id="T1",
        title="A title",
        a="this",
        b="that",
        unit="events/s",
        counted="all",
        processes="this process",
        gate=gate,
        prepare=prepare,
        judged_by=judged_by,
        compared=compared,
        pairs=pairs,
        limit="light",
        why_missed="the speed of light",
    )


def judging(**changes: Any) -> Benchmark:
    """A benchmark of which only the rounds' values are looked at."""
    return benchmark(Sides(lambda: sample(1), lambda: sample(1)), **changes)


def sample(spent: float, *, figure: float = 1.0) -> Sample:
    return Sample(figure=figure, spent=spent, items=1, cpu_us=2.0)


def side_of(values: list[float]) -> Callable[[], Sample]:
    """Figures one after the other, beginning again at the end."""
    turns = itertools.cycle(values)
    return lambda: sample(next(turns))


def sides(a: list[float], b: list[float]) -> Sides:
    return Sides(side_of(a), side_of(b))


def done(found: Sides, *, seconds_max: float = 60.0, gate: Gate | None = TWICE) -> Result:
    return run(benchmark(found, gate=gate), LAB, seconds_max, tell=lambda: None)


def result(**changes: object) -> Result:
    base = Result(
        id="T1",
        title="A title",
        a="this",
        b="that",
        unit="events/s",
        counted="all",
        processes="this process",
        judged_by="CPU time",
        compared="ratio",
        gate="at least 2",
        verdict=Verdict.MET,
        interval=Interval(2.4, 2.5, 2.6),
        beside=Interval(1.0, 2.0, 4.0),
        values=(2.4, 2.5, 2.6),
        a_figure=250_000.0,
        b_figure=100_000.0,
        a_cpu_us=3.25,
        b_cpu_us=8.0,
    )
    return msgspec.structs.replace(base, **changes)


MACHINE = Machine(
    cpu="A CPU", cores=2, memory_gib=24.0, kernel="6.1", python="3.11.7", versions={"x": "1.0"}
)


@pytest.mark.parametrize("pairs", [1, 2])
def test_sides_alternate_so_that_drift_favours_neither(pairs: int) -> None:
    letters = order(pairs)

    assert "".join(itertools.islice(letters, 8)) == "ABBAABBA"


def test_a_round_is_the_mean_of_its_parts() -> None:
    found = play_round(sides([1, 3], [10, 30]), order(2), pairs=2)

    assert (found.a.spent, found.b.spent, found.a.items) == (2, 20, 2)


def test_the_first_round_is_dropped() -> None:
    found = done(sides([100, 20, 22, 21, 20, 22, 21, 20, 22, 100], [10]), seconds_max=0)

    assert found.values == (2.0, 2.2, 2.1, 2.0, 2.2, 2.1, 2.0, 2.2)


def middles(found: Result) -> tuple[float, float]:
    """What is judged, and what stands beside it."""
    assert found.interval
    assert found.beside
    return found.interval.middle, found.beside.middle


def test_what_is_judged_is_cpu_time_and_the_wall_time_stands_beside_it() -> None:
    a, b = sample(30, figure=5), sample(10, figure=10)

    found = done(Sides(lambda: a, lambda: b))

    assert middles(found) == pytest.approx((3, 0.5))
    assert found.verdict is Verdict.MET


def test_a_latency_is_judged_by_the_clock() -> None:
    a, b = sample(30, figure=5), sample(10, figure=10)
    waited = benchmark(Sides(lambda: a, lambda: b), judged_by="wall time")

    found = run(waited, LAB, 60, tell=lambda: None)

    assert found.verdict is Verdict.MISSED
    assert middles(found) == pytest.approx((0.5, 3))


def test_a_ratio_below_its_gate_is_missed() -> None:
    assert done(sides([19], [10])).verdict is Verdict.MISSED


def test_rounds_end_as_soon_as_they_decide() -> None:
    assert len(done(sides([30], [10])).values) == ROUNDS_MIN


def test_rounds_go_on_while_they_decide_nothing() -> None:
    noisy = [26.0, 34.0, 30.0, 28.0, 33.0]

    found = done(sides(noisy, [10]))

    assert len(found.values) in LOOKS[1:]
    assert found.verdict is Verdict.MET


def test_rounds_end_when_the_time_is_up() -> None:
    found = done(sides([10, 40, 60, 50], [10]), seconds_max=0)

    assert len(found.values) == ROUNDS_MIN
    assert (found.verdict, found.why) == (Verdict.UNDECIDED, "the gate lies within its interval")


def test_processor_time_decides_however_wide_its_interval_beyond_the_gate() -> None:
    found = done(sides([30, 40, 60, 50], [10]), seconds_max=0)

    assert found.verdict is Verdict.MET


def test_a_latency_decides_only_if_it_is_precise() -> None:
    waited = benchmark(sides([30, 40, 60, 50], [10]), judged_by="wall time")
    values = [3.0, 4.0, 6.0, 5.0] * 2

    assert verdict(waited, values) == (Verdict.UNDECIDED, "its interval is 100% wide")


def test_a_gate_within_a_narrow_interval_is_undecided() -> None:
    found = done(sides([19.8, 19.9, 20, 20.1, 20.2], [10]))

    assert len(found.values) == ROUNDS_MAX
    assert (found.verdict, found.why) == (
        Verdict.UNDECIDED,
        "the gate lies within its interval",
    )


def test_one_hiccup_does_not_keep_rounds_from_deciding() -> None:
    hiccup = [30.0] * 20 + [3.0] + [30.0] * 100

    assert done(sides(hiccup, [10])).verdict is Verdict.MET


def test_without_a_gate_a_figure_is_only_reported() -> None:
    found = done(sides([30], [10]), gate=None)

    assert (found.verdict, found.why) == (Verdict.REPORTED, "")


def test_a_gate_is_met_only_with_every_figure_beside_it() -> None:
    low = Aside("agreement", 0.5, Gate("at least", 0.99))

    assert verdict(judging(), [3.0] * ROUNDS_MIN, [low]) == (Verdict.MISSED, "")


def test_differences_are_as_wide_as_what_is_allowed_says() -> None:
    gate = Gate("at most", 2)
    waited = judging(gate=gate, judged_by="wall time", compared="difference")

    assert width(Interval(0.1, 0.2, 0.3), gate, "difference") == pytest.approx(0.1)
    assert verdict(waited, [0.1, 0.2] * 8) == (Verdict.MET, "")
    assert verdict(waited, [0.1, 1.3] * 8) == (Verdict.UNDECIDED, "its interval is 60% wide")


def test_the_limit_is_measured_beside_and_never_judged() -> None:
    found = done(Sides(lambda: sample(30), lambda: sample(10), lambda: sample(120)))

    assert found.reach == pytest.approx(0.25)
    assert found.verdict is Verdict.MET


def test_too_few_rounds_have_no_interval() -> None:
    assert ratio_interval([2.0] * (ROUNDS_MIN - 1)) is None
    assert verdict(judging(), [2.0] * 3) == (Verdict.UNDECIDED, "3 rounds are too few")


def test_the_interval_is_that_of_the_published_table() -> None:
    """Wilcoxon's table: of 16 pairs, 99 in 100 have a signed-rank sum above 19."""
    values = [float(2**number) for number in range(16)]
    averages = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2))

    found = difference_interval(values)

    assert found == Interval(averages[19], found.middle if found else 0, averages[-20])


def noise(rng: random.Random) -> float:
    """A ratio's disturbance as a busy machine makes it: mostly small, at times a factor."""
    return rng.lognormvariate(0, 0.5 if rng.random() < 0.1 else 0.06)


def test_whoever_stands_at_the_gate_is_judged_in_five_of_a_hundred_runs_at_most() -> None:
    rng = random.Random(11)
    runs = 200
    wrong = sum(
        any(verdict(judging(), values[:look])[0].is_decided for look in LOOKS[:3])
        for values in ([2 * noise(rng) for _ in range(LOOKS[2])] for _ in range(runs))
    )

    assert wrong / runs <= 0.05


def test_whoever_is_beyond_the_gate_is_judged_on_a_busy_machine() -> None:
    rng = random.Random(12)
    found = [verdict(judging(), [2.3 * noise(rng) for _ in range(LOOKS[2])])[0] for _ in range(30)]

    assert found.count(Verdict.MET) >= 28
    assert Verdict.MISSED not in found


def test_a_void_part_repeats_its_round() -> None:
    turns = itertools.count()

    def a() -> Sample:
        if next(turns) == 1:
            raise VoidError("one was lost")
        return sample(30)

    found = done(Sides(a, lambda: sample(10)))

    assert found.values == (3.0,) * ROUNDS_MIN


def test_too_many_void_rounds_decide_nothing() -> None:
    turns = itertools.count()

    def lost() -> Sample:
        next(turns)
        raise VoidError("one was lost")

    found = done(Sides(lost, lambda: sample(10)))

    assert found.verdict is Verdict.UNDECIDED
    assert found.why == "void: one was lost"
    assert next(turns) == VOID_MAX + 1


def raising(error: Exception) -> Sides:
    def a() -> Sample:
        raise error

    return Sides(a, lambda: sample(10))


def test_what_the_machine_lacks_is_said() -> None:
    absent = done(raising(AbsentError("`nginx` is not on this machine")))

    assert (absent.verdict, absent.why) == (Verdict.ABSENT, "`nginx` is not on this machine")


def test_a_store_that_is_away_costs_only_the_benchmark_that_needed_it() -> None:
    found = done(raising(UnavailableError("clickhouse")))

    assert (found.verdict, found.why) == (Verdict.UNDECIDED, "`clickhouse` is unavailable")


def test_a_rate_is_void_unless_everything_was_done() -> None:
    with pytest.raises(VoidError, match="9 of 10"):
        rate(10, lambda: 9, costs.own())


def burn(seconds: float = 0.05) -> int:
    """Keep a core busy for that much of processor time."""
    until = costs.own().cpu_s() + seconds
    while costs.own().cpu_s() < until:
        pass
    return 10


def test_a_duration_is_the_mean_of_several() -> None:
    found = lasting(10, burn, costs.own(), times=3)

    assert found.items == 30
    assert found.spent == pytest.approx(50, rel=0.5)
    assert found.figure >= found.spent * 0.9


def test_a_rate_counts_work_a_second_of_the_clock_and_of_processor_time() -> None:
    found = throughput(100, Spent(took_s=2.0, cpu_s=0.5))

    assert (found.figure, found.spent, found.cpu_us) == (50, 200, 5_000)


def test_a_latency_leaves_the_warm_up_out_and_charges_all() -> None:
    found = latency([100.0] * 10 + [2.0] * 10, Spent(took_s=1.0, cpu_s=0.02), warm=10)

    assert (found.figure, found.spent, found.items) == (2.0, 1.0, 20)


def test_samples_of_a_round_are_averaged() -> None:
    found = mean([Sample(1, 10, 1, 4.0), Sample(3, 30, 1, 6.0)])

    assert found == Sample(2, 20, 2, 5.0)


def busy_child(seconds: float) -> subprocess.Popen[bytes]:
    """A process that has used so much processor time once it says so."""
    program = (
        "import time, sys\n"
        f"while time.process_time() < {seconds}: pass\n"
        "print(flush=True); sys.stdin.read()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_the_time_of_another_process_is_counted() -> None:
    with busy_child(0.2) as child:
        assert child.stdout
        child.stdout.readline()

        assert 0.2 <= costs.cpu_s_of(child.pid) < 2

        child.communicate(b"")


def test_the_time_of_children_is_counted_while_they_live_and_after_they_ended() -> None:
    before = costs.own().cpu_s()
    with busy_child(0.2) as child:
        assert child.stdout
        child.stdout.readline()
        living = costs.own().cpu_s() - before
        child.communicate(b"")
    ended = costs.own().cpu_s() - before

    assert living >= 0.2
    assert ended >= living - 0.02  # the kernel counts ended ones in hundredths of a second


def test_a_process_that_ended_makes_its_round_void() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    with pytest.raises(VoidError, match="has ended"):
        Processes((child.pid,)).cpu_s()


def test_what_a_server_does_at_rest_is_taken_off() -> None:
    watched = Processes((os.getpid(),), idle_share=0.25)
    now = watched.read()
    earlier = Reading(at_s=now.at_s - 2.0, cpu_s=now.cpu_s - 1.5)

    spent = watched.since(earlier)

    assert spent.cpu_s == pytest.approx(1.5 - 0.25 * spent.took_s, abs=0.05)


def test_work_that_cannot_be_told_from_rest_is_void() -> None:
    watched = Processes((os.getpid(),), idle_share=100.0)

    with pytest.raises(VoidError, match="no more than they do at rest"):
        watched.since(Reading(watched.read().at_s - 1.0, watched.read().cpu_s))


def test_a_server_of_another_machine_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(port: int) -> Iterator[str]:
        assert port == 9092
        return iter(())

    monkeypatch.setattr(costs, "listening_sockets", nobody)

    with pytest.raises(AbsentError, match=r"`kafka\.example:9092` is no server of this machine"):
        costs.servers_at("kafka.example:9092")


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile(list(range(100)), 0.95) == 95
    assert percentile([7.0], 0.95) == 7.0


def test_a_schedule_does_not_wait_for_anybody() -> None:
    assert list(load.schedule(4, 3)) == [0.0, 0.25, 0.5]


def test_every_benchmark_has_an_id_of_its_own() -> None:
    ids = [one.id for one in ALL]

    assert len(set(ids)) == len(ids)
    assert {name[0] for name in ids} == set("KCRWX")


def test_who_decodes_nothing_is_a_limit_and_never_a_gate() -> None:
    compared = {one.id: one for one in ALL}

    for name in ("K1", "K4", "C3", "W4"):
        assert compared[name].gate == Gate("at least", 1.5)
        assert compared[name].judged_by == "CPU time"
        assert compared[name].limit


def test_what_is_written_by_hand_makes_the_same_event() -> None:
    (body,) = speech.bodies(1)
    _, text = byhand.stamp_body(body, 3, "conversation-1")

    assert decode(text.encode()) == kafka.stamped(body, 3, "conversation-1")


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "nobody"},
        {"content": 3},
        {"content": "a\0b"},
        {"name": "a\nb"},
        {"model": "m" * 256},
        {"metadata": []},
        {"misspelt": 1},
    ],
)
def test_what_is_written_by_hand_refuses_what_the_platform_refuses(
    changes: dict[str, object],
) -> None:
    body = json.dumps({"role": "user", "content": "hello"} | changes).encode()

    with pytest.raises(ValueError, match=r"."):
        byhand.stamp_body(body, 1, "conversation-1")
    with pytest.raises(msgspec.ValidationError):
        kafka.stamped(body, 1, "conversation-1")


def test_benchmarks_are_chosen_by_id() -> None:
    assert [one.id for one in chosen("k2, W1")] == ["K2", "W1"]
    assert chosen("") == ALL


def test_an_unknown_id_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidError, match="no benchmark `Z9`: choose among K1"):
        chosen("K1,Z9")


def test_the_table_shows_the_gate_the_ratio_and_its_interval() -> None:
    page = record.page(record.Record(MACHINE, (result(reach=0.25, limit="light"),)))

    row = (
        "| T1 | A title | CPU time | at least 2 | 2.5 | 2.4 to 2.6 | met"
        " | 250,000 events/s, 3.25 µs CPU | 100,000 events/s, 8 µs CPU | 0.25 |"
    )
    assert row in page.splitlines()
    assert "- By wall time: 2, 1 to 4" in page.splitlines()
    assert "2 cores of A CPU, 24 GiB" in page


def test_what_limits_a_benchmark_is_said_where_it_missed_alone() -> None:
    missed = result(verdict=Verdict.MISSED, why_missed="the speed of light")
    met = result(why_missed="the speed of light")

    assert "What limits it: the speed of light" in record.page(record.Record(MACHINE, (missed,)))
    assert "the speed of light" not in record.page(record.Record(MACHINE, (met,)))


def test_a_difference_is_shown_in_its_unit() -> None:
    found = result(
        compared="difference",
        judged_by="wall time",
        unit="ms",
        gate="at most 2",
        interval=Interval(0.4, 0.5, 0.6),
    )

    assert record.compared(found) == "0.5 ms"
    assert record.gate(found) == "A - B at most 2 ms"
    assert "- By CPU time: 2 ms CPU, 1 ms CPU to 4 ms CPU" in record.page(
        record.Record(MACHINE, (found,))
    )


def test_a_summary_names_the_gates_that_were_not_decided() -> None:
    results = [
        result(),
        result(id="T2", verdict=Verdict.UNDECIDED),
        result(id="T3", gate="", verdict=Verdict.REPORTED),
    ]

    assert record.summary(results) == "1 of 2 gates decided, not T2"


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = record.Record(MACHINE, (result(), result(id="T2", verdict=Verdict.ABSENT, values=())))
    record.write(kept, tmp_path / "made")

    assert record.read(tmp_path / "made" / record.FILE) == kept
    assert (tmp_path / "made" / record.PAGE).read_text() == record.page(kept)
    assert record.read(tmp_path / "none.json") is None


def leave_alone(lab: Lab) -> None:
    """Nothing was left in a lab without servers."""
    del lab


def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """The command's exit status and output, with one benchmark that misses its gate."""
    missing = benchmark(sides([10], [10]))
    monkeypatch.setattr(__main__, "ALL", (missing,))
    monkeypatch.setattr(__main__, "ROOT", tmp_path)
    monkeypatch.setattr(record, "SCRATCH", tmp_path / ".bench")
    monkeypatch.setattr(record, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(Lab, "clean", leave_alone)
    ran = CliRunner().invoke(__main__.main, list(arguments))
    return ran.exit_code, ran.output


def test_a_run_leaves_the_committed_record_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, output = measured(monkeypatch, tmp_path)

    assert status == 1
    assert (tmp_path / ".bench" / record.PAGE).exists()
    assert not (tmp_path / "reference").exists()
    assert "1 of 1 gates decided" in output
    assert "wrote `.bench/benchmarks.json`, `.bench/benchmarks.md`" in output


def test_a_committed_record_is_renewed_on_demand_also_where_a_gate_is_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, _ = measured(monkeypatch, tmp_path, "--record")

    assert status == 1
    kept = record.read(tmp_path / "reference" / record.FILE)
    assert kept
    assert [one.verdict for one in kept.results] == [Verdict.MISSED]
    assert (tmp_path / "reference" / record.PAGE).read_text() == record.page(kept)


def test_a_record_of_another_shape_gives_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".bench").mkdir()
    (tmp_path / ".bench" / record.FILE).write_text('{"results": 3}')

    status, _ = measured(monkeypatch, tmp_path)

    assert status == 1
    assert record.read(tmp_path / ".bench" / record.FILE)


def test_new_results_take_the_place_of_old_ones_of_the_same_machine() -> None:
    before = record.Record(MACHINE, (result(), result(id="T2")))
    fresh = result(id="T2", title="Measured again")

    merged = record.merged(before, MACHINE, [fresh], ["T2", "T1"])

    assert merged.results == (fresh, result())


def test_results_of_another_machine_are_not_kept_beside_new_ones() -> None:
    before = record.Record(MACHINE, (result(),))
    other = msgspec.structs.replace(MACHINE, cores=64)

    assert record.merged(before, other, [result(id="T2")], ["T1", "T2"]).results == (
        result(id="T2"),
    )


def test_messages_are_the_same_in_every_run() -> None:
    assert speech.said(3) == speech.said(3)
    assert speech.said(3) != speech.said(4)
    assert len(speech.said(3)) == speech.CHARACTERS


def test_the_dense_walk_ranks_as_the_definition_says() -> None:
    rank = compression.dense(["red green blue", "red green", "yellow", "the and"])

    assert rank[0] > rank[3]
    assert rank.sum() == pytest.approx(4, abs=0.9)
