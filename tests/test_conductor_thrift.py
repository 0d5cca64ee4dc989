"""Whether a node preprocesses is decided by what it costs here, on the link and on the nodes."""

from __future__ import annotations

from buildfarm.conductor.thrift import EXPLORED, Thrift

HEADERS = 300_000  # bytes, packed
FILES = 150
MANY = 256  # slots
SOME = 64


def chosen(thrift: Thrift, slots: int = MANY, language: str = "c") -> float:
    """The share of units that nodes preprocess, those apart that go each way in any case."""
    answers = [thrift.pump_pays(language, HEADERS, FILES, slots) for _ in range(EXPLORED)]
    return sum(answers[2:]) / (EXPLORED - 2)


def test_a_farm_of_many_slots_preprocesses_and_one_of_few_does_not() -> None:
    thrift = Thrift(2)
    thrift.sent(1_000_000, 0.001)
    assert chosen(thrift, 4) == 0
    assert chosen(thrift, MANY) == 1


def test_a_slow_link_carries_no_headers() -> None:
    thrift = Thrift(2)
    thrift.sent(1_000_000, 1_000_000 * 8e-8)  # 100 Mbit/s
    assert chosen(thrift) == 0


def test_a_busy_processor_turns_the_choice_and_an_idle_one_turns_it_back() -> None:
    thrift = Thrift(2)
    thrift.sent(1_000_000, 1_000_000 * 8e-8)
    for _ in range(20):
        thrift.preprocessed("c", 0.2)
    assert chosen(thrift) == 1
    for _ in range(40):
        thrift.preprocessed("c", 0.001)
    assert chosen(thrift) == 0


def test_nodes_that_take_long_over_headers_are_sent_texts() -> None:
    thrift = Thrift(2)
    thrift.sent(1_000_000, 0.001)
    for _ in range(20):
        thrift.compiled("c", 0.5, pumped=None)
        thrift.compiled("c", 3.5, pumped=FILES)
    assert chosen(thrift, SOME) == 0
    for _ in range(40):
        thrift.compiled("c", 0.5, pumped=FILES)
    assert chosen(thrift, SOME) == 1


def test_that_the_longest_units_went_first_is_not_taken_for_what_their_headers_cost() -> None:
    thrift = Thrift(2)
    thrift.compiled("c", 0.1, pumped=None)
    for _ in range(20):
        thrift.compiled("c", 3.0, pumped=1)
    answers = [thrift.pump_pays("c", 3_000, 1, 16) for _ in range(EXPLORED)]
    assert all(answers[2:])


def test_a_unit_whose_headers_stay_here_is_preprocessed_there_even_on_a_small_farm() -> None:
    thrift = Thrift(2)
    thrift.sent(1_000_000, 1_000_000 * 8e-8)
    answers = [thrift.pump_pays("c", 1_000, 4, 2) for _ in range(EXPLORED)]
    assert answers[0] is False and all(answers[1:])


def test_the_dearer_way_is_tried_ever_more_seldom_while_the_choice_stays() -> None:
    for slots in (1, 1000):
        thrift = Thrift(2)
        thrift.sent(1_000_000, 0.0)
        answers = [thrift.pump_pays("c++", HEADERS, FILES, slots) for _ in range(4000)]
        assert answers[:2] == [False, True]
        pays = slots > 1
        tried = [number for number, answer in enumerate(answers[2:], 2) if answer is not pays]
        first = [256] if pays else [64, 64 + 256]
        assert tried == [*first, *(first[-1] + number * 1024 for number in (1, 2, 3))]


def test_a_choice_that_changed_is_tried_soon_again() -> None:
    thrift = Thrift(2)
    thrift.sent(1_000_000, 0.001)
    for _ in range(321):
        thrift.pump_pays("c", HEADERS, FILES, SOME)
    for _ in range(20):
        thrift.compiled("c", 0.5, pumped=None)
        thrift.compiled("c", 3.5, pumped=FILES)
    answers = [thrift.pump_pays("c", HEADERS, FILES, SOME) for _ in range(321, 1281 + EXPLORED)]
    assert [number for number, answer in enumerate(answers, 321) if answer] == [1280, 1280 + EXPLORED]


def test_the_link_is_measured_by_what_was_sent_last() -> None:
    thrift = Thrift(2)
    thrift.sent(1_000_000, 1.0)
    for _ in range(100):
        thrift.sent(1_000_000, 0.001)
    assert thrift.seconds_per_byte < 1e-7
