"""Whether a node preprocesses is decided by what it would cost here and on the link."""

from __future__ import annotations

from buildfarm.conductor.thrift import EXPLORED, Thrift

HEADERS = 300_000  # bytes, packed


def chosen(thrift: Thrift, language: str = "c") -> float:
    """The share of a hundred units that nodes preprocess."""
    return sum(thrift.pump_pays(language, HEADERS) for _ in range(100)) / 100


def test_a_fast_link_carries_headers_and_a_slow_one_does_not() -> None:
    fast, slow = Thrift(), Thrift()
    fast.sent(1_000_000, 1_000_000 * 8e-9)
    slow.sent(1_000_000, 1_000_000 * 8e-8)  # 100 Mbit/s
    assert chosen(fast) > 0.9
    assert chosen(slow) == 0


def test_a_busy_processor_turns_the_choice_and_an_idle_one_turns_it_back() -> None:
    thrift = Thrift()
    thrift.sent(1_000_000, 1_000_000 * 8e-8)
    assert chosen(thrift) == 0
    for _ in range(20):
        thrift.preprocessed("c", 0.2)
    assert chosen(thrift) > 0.9
    for _ in range(40):
        thrift.preprocessed("c", 0.001)
    assert chosen(thrift) == 0


def test_the_first_unit_and_one_in_many_are_preprocessed_here() -> None:
    thrift = Thrift()
    thrift.sent(1_000_000, 0.0)
    answers = [thrift.pump_pays("c++", HEADERS) for _ in range(2 * EXPLORED)]
    assert [number for number, pumped in enumerate(answers) if not pumped] == [0, EXPLORED]


def test_the_link_is_measured_by_what_was_sent_last() -> None:
    thrift = Thrift()
    thrift.sent(1_000_000, 1.0)
    for _ in range(100):
        thrift.sent(1_000_000, 0.001)
    assert thrift.seconds_per_byte < 1e-7


def test_the_size_of_preprocessed_texts_is_learned_by_language() -> None:
    thrift = Thrift()
    thrift.sent(1_000_000, 0.1)
    for _ in range(30):
        thrift.sent(900_000, 0.09, "c++")
        thrift.preprocessed("c++", 0.001)
        thrift.preprocessed("c", 0.001)
    assert chosen(thrift, "c++") > 0.9, "its text is larger than its headers"
    assert chosen(thrift, "c") == 0
