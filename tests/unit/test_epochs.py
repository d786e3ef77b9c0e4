"""What a topic is now is asked of the broker, however often the last answer failed."""

from concurrent.futures import wait
from unittest.mock import Mock

import pytest

from helix.adapters import kafka
from helix.adapters.kafka import Epochs, Incarnation
from helix.errors import UnavailableError
from helix.settings import Kafka

OLD, NEW = Incarnation(epoch="old", partitions=1), Incarnation(epoch="new", partitions=1)


class Told(Epochs):
    """Told these answers, one after another."""

    def __init__(self, *answers: Incarnation | None) -> None:
        super().__init__(Kafka())
        self._answers = list(answers)

    def _ask(self, topic: str) -> Incarnation:
        answer = self._answers.pop(0)
        if answer is None:
            raise UnavailableError(topic)
        return answer

    def glimpsed(self, topic: str) -> Incarnation | None:
        """What is glimpsed once the question under way is answered."""
        self.glimpse(topic)
        wait(self._asked.values())
        return self.glimpse(topic)


@pytest.fixture(autouse=True)
def nothing_stays_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "EPOCH_S_MAX", 0.0)
    monkeypatch.setattr(kafka, "AdminClient", Mock())


def test_an_unanswered_glimpse_makes_no_old_answer_the_present_one() -> None:
    epochs = Told(OLD, None, NEW)

    assert epochs.current("t") == OLD
    assert epochs.glimpsed("t") == OLD
    assert epochs.current("t") == NEW


def test_a_glimpse_that_was_not_answered_is_not_asked_again_at_once() -> None:
    epochs = Told(OLD, None)

    assert epochs.current("t") == OLD
    assert epochs.glimpsed("t") == OLD
    assert epochs.glimpsed("t") == OLD
