"""Which foreseen units are so long that they had better not wait until make asks for them."""

from __future__ import annotations

from buildfarm.conductor.outlook import Outlook

SLOTS = 10


def outlook(**seconds: float) -> Outlook:
    found = Outlook()
    found.foresee(seconds)
    return found


def test_a_unit_presses_that_takes_a_good_part_of_what_the_farm_needs_for_the_rest() -> None:
    found = outlook(long=10.0, all_others=90.0)
    assert found.presses(10.0, SLOTS)
    assert not found.presses(1.0, SLOTS)


def test_the_less_is_to_come_the_shorter_what_presses() -> None:
    found = outlook(first=80.0, second=20.0)
    assert not found.presses(1.0, SLOTS)
    found.begun("first")
    assert found.presses(1.0, SLOTS)


def test_what_is_begun_counts_once_and_never_again_whatever_the_plans_say() -> None:
    found = outlook(first=80.0, second=20.0)
    found.begun("first")
    found.begun("first")
    found.foresee({"first": 80.0, "second": 20.0})
    assert found.presses(1.0, SLOTS)
    assert not found.presses(0.5, SLOTS)


def test_nothing_presses_where_nobody_is() -> None:
    assert not outlook(only=1.0).presses(1.0, 0)
