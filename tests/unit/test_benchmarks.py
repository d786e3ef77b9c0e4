"""How benchmarks are played and judged, and how what they found is shown."""

import itertools
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from helix.errors import InvalidError, UnavailableError
from helix.settings import Settings
from validation.benchmarks import compression, load, record, speech
from validation.benchmarks.__main__ import ALL, chosen
from validation.benchmarks.lab import Lab
from validation.benchmarks.machine import Machine
from validation.benchmarks.runner import (
    VOID_MAX,
    AbsentError,
    Aside,
    Benchmark,
    Gate,
    Result,
    Sample,
    Sides,
    Verdict,
    VoidError,
    lasting,
    mean,
    order,
    percentile,
    played,
    rate,
    run,
    spread,
    verdict,
)

LAB = Lab(Settings())
TWICE = Gate("at least", 2)


def benchmark(sides: Sides, *, pairs: int = 1, gate: Gate | None = TWICE) -> Benchmark:
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
        gate=gate,
        prepare=prepare,
        pairs=pairs,
        limit="the speed of light",
    )


def sides(a: list[float], b: list[float]) -> Sides:
    """Figures one after the other, beginning again at the end."""
    left, right = itertools.cycle(a), itertools.cycle(b)
    return Sides(lambda: Sample(next(left), 1, 2.0), lambda: Sample(next(right), 1))


def done(found: Sides, *, rounds: int = 3, pairs: int = 1) -> Result:
    return run(benchmark(found, pairs=pairs), LAB, rounds, told=lambda: None)


def result(**changes: object) -> Result:
    base = Result(
        id="T1",
        title="A title",
        a="this",
        b="that",
        unit="events/s",
        counted="all",
        compared="ratio",
        gate="at least 2",
        verdict=Verdict.MET,
        values=(2.4, 2.5, 2.6),
        a_figure=250_000.0,
        b_figure=100_000.0,
        a_cpu_us=3.25,
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
    found = played(sides([1, 3], [10, 30]), order(2), pairs=2)

    assert (found.a.figure, found.b.figure) == (2, 20)
    assert (found.a.items, found.a.cpu_us, found.b.cpu_us) == (2, 2.0, None)


def test_the_first_round_is_dropped() -> None:
    assert done(sides([100, 20, 22, 21], [10])).values == (2.0, 2.2, 2.1)


def test_the_median_of_the_rounds_is_judged() -> None:
    found = done(sides([1, 20, 22, 21], [10]))

    assert found.median == 2.1
    assert found.verdict is Verdict.MET


def test_a_ratio_below_its_gate_is_missed() -> None:
    assert done(sides([19], [10])).verdict is Verdict.MISSED


def test_rounds_that_disagree_give_no_result_whatever_their_median() -> None:
    found = done(sides([1, 40, 60, 50], [10]))

    assert found.verdict is Verdict.NO_RESULT
    assert found.why == "rounds 40% apart"


def test_without_a_gate_a_figure_is_only_reported() -> None:
    assert verdict([1.0, 9.0], None) is Verdict.REPORTED


def test_a_gate_is_met_only_with_every_figure_beside_it() -> None:
    low = Aside("agreement", 0.5, Gate("at least", 0.99))

    assert verdict([3.0], TWICE, asides=[low]) is Verdict.MISSED


def test_differences_are_spread_in_terms_of_what_is_allowed() -> None:
    gate = Gate("at most", 2)

    assert spread([0.1, 0.3], gate, "difference") == pytest.approx(0.1)
    assert verdict([0.1, 0.3], gate, "difference") is Verdict.MET
    assert verdict([0.1, 1.3], gate, "difference") is Verdict.NO_RESULT


def test_a_void_part_repeats_its_round() -> None:
    turns = itertools.count()

    def a() -> Sample:
        if next(turns) == 1:
            raise VoidError("one was lost")
        return Sample(20, 1)

    found = done(Sides(a, lambda: Sample(10, 1)))

    assert found.values == (2.0, 2.0, 2.0)


def test_too_many_void_rounds_give_no_result() -> None:
    turns = itertools.count()

    def lost() -> Sample:
        next(turns)
        raise VoidError("one was lost")

    found = done(Sides(lost, lambda: Sample(10, 1)))

    assert found.verdict is Verdict.NO_RESULT
    assert found.why == "void: one was lost"
    assert next(turns) == VOID_MAX + 1


def raising(error: Exception) -> Sides:
    def a() -> Sample:
        raise error

    return Sides(a, lambda: Sample(10, 1))


def test_what_the_machine_lacks_is_said() -> None:
    absent = done(raising(AbsentError("`nginx` is not on this machine")))

    assert (absent.verdict, absent.why) == (Verdict.ABSENT, "`nginx` is not on this machine")


def test_a_store_that_is_away_costs_only_the_benchmark_that_needed_it() -> None:
    found = done(raising(UnavailableError("clickhouse")))

    assert (found.verdict, found.why) == (Verdict.NO_RESULT, "`clickhouse` is unavailable")


def test_a_rate_is_void_unless_everything_was_done() -> None:
    with pytest.raises(VoidError, match="9 of 10"):
        rate(10, lambda: 9)


def test_a_duration_is_the_middle_of_several() -> None:
    sample = lasting(10, lambda: 10, times=3)

    assert sample.items == 30
    assert sample.figure >= 0


def test_the_mean_of_samples_without_a_cost_has_none() -> None:
    assert mean([Sample(1, 1), Sample(3, 1)]) == Sample(2, 2, None)


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile(list(range(100)), 0.95) == 95
    assert percentile([7.0], 0.95) == 7.0


def test_a_schedule_does_not_wait_for_anybody() -> None:
    assert list(load.schedule(4, 3)) == [0.0, 0.25, 0.5]


def test_every_benchmark_has_an_id_of_its_own() -> None:
    ids = [one.id for one in ALL]

    assert len(set(ids)) == len(ids)
    assert {name[0] for name in ids} == set("KCRWX")


def test_benchmarks_are_chosen_by_id() -> None:
    assert [one.id for one in chosen("k2, W1")] == ["K2", "W1"]
    assert chosen("") == ALL


def test_an_unknown_id_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidError, match="no benchmark `Z9`: choose among K1"):
        chosen("K1,Z9")


def test_the_table_shows_the_gate_the_ratio_and_its_bounds() -> None:
    page = record.page(record.Record(MACHINE, (result(),)))

    row = (
        "| T1 | A title | at least 2 | 2.5 | 2.4 to 2.6 | met"
        " | 250,000 events/s, 3.25 µs CPU | 100,000 events/s |"
    )
    assert row in page.splitlines()
    assert "2 cores of A CPU, 24 GiB" in page


def test_what_limits_a_benchmark_is_said_where_it_missed_alone() -> None:
    missed = result(verdict=Verdict.MISSED, limit="the speed of light")
    met = result(limit="the speed of light")

    assert "What limits it: the speed of light" in record.page(record.Record(MACHINE, (missed,)))
    assert "the speed of light" not in record.page(record.Record(MACHINE, (met,)))


def test_a_difference_is_shown_in_its_unit() -> None:
    found = result(compared="difference", unit="ms", gate="at most 2", values=(0.5,))

    assert record.compared(found) == "0.5 ms"
    assert record.gate(found) == "A - B at most 2 ms"


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    kept = record.Record(MACHINE, (result(), result(id="T2", verdict=Verdict.ABSENT, values=())))
    record.write(kept, path)

    assert record.read(path) == kept
    assert record.read(tmp_path / "none.json") is None


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
