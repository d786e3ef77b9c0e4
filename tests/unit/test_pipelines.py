"""The table of pipelines fits the catalogue."""

from helix.topology.catalog import CATALOG
from runtime.burial import TOPIC as DEAD_LETTERS
from runtime.pipelines import PIPELINES


def test_every_pipeline_reads_a_topic_that_names_its_noun_as_a_reader() -> None:
    readers = {topic.name: topic.readers for topic in CATALOG.topics}

    assert all(pipeline.noun in readers[pipeline.topic] for pipeline in PIPELINES)


def test_every_pipeline_has_a_name_of_its_own() -> None:
    names = [pipeline.name for pipeline in PIPELINES]

    assert len(set(names)) == len(names)


def test_dead_letters_go_to_a_topic_of_the_workers() -> None:
    writers = {topic.name: topic.writer for topic in CATALOG.topics}

    assert writers[DEAD_LETTERS] == "workers"
