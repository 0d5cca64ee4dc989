"""Our `dataclass` makes classes that behave as the standard library's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import field, replace
from typing import Any

import pytest

from buildfarm import value

DECORATORS = pytest.mark.parametrize("dataclass", (dataclasses.dataclass, value.dataclass), ids=("standard", "ours"))


def _parcel(dataclass: Callable[..., Any]) -> Any:
    class Parcel:
        name: str
        weight: int = 0
        notes: list[str] = field(default_factory=list, compare=False, repr=False)

    return dataclass(frozen=True, slots=True)(Parcel)


@DECORATORS
def test_frozen_values_compare_and_hash_by_what_they_compare(dataclass: Callable[..., Any]) -> None:
    parcel = _parcel(dataclass)
    assert parcel("a", 2) == parcel("a", weight=2, notes=["fragile"])
    assert hash(parcel("a", 2)) == hash(parcel("a", 2, ["fragile"]))
    assert parcel("a", 2) != parcel("a", 3)
    assert parcel("a") != ("a", 0)
    assert len({parcel("a"), parcel("a"), parcel("b")}) == 2


@DECORATORS
def test_values_are_written_as_their_call(dataclass: Callable[..., Any]) -> None:
    assert repr(_parcel(dataclass)("a", 2)).endswith("Parcel(name='a', weight=2)")


@DECORATORS
def test_values_have_slots_patterns_and_replacements(dataclass: Callable[..., Any]) -> None:
    parcel = _parcel(dataclass)
    match replace(parcel("a"), weight=5):
        case parcel("a", weight):
            assert weight == 5
        case other:
            pytest.fail(f"{other} matches no pattern")
    assert not hasattr(parcel("a"), "__dict__")
    assert parcel("a").notes is not parcel("a").notes


@DECORATORS
def test_mutable_values_compare_and_have_no_hash(dataclass: Callable[..., Any]) -> None:
    class Shelf:
        width: int

    shelf = dataclass(slots=True)(Shelf)
    assert shelf(1) == shelf(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(shelf(1))


@DECORATORS
def test_instances_that_do_not_compare_are_themselves_alone(dataclass: Callable[..., Any]) -> None:
    class Door:
        pass

    door = dataclass(eq=False, slots=True)(Door)
    one = door()
    assert one == one
    assert one != door()
    assert len({one, door()}) == 2


@DECORATORS
def test_a_class_keeps_its_own_methods(dataclass: Callable[..., Any]) -> None:
    class Word:
        text: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, type(self)) and self.text.lower() == other.text.lower()

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "a word"

    word = dataclass(frozen=True, slots=True)(Word)
    assert word("a") == word("A")
    assert hash(word("a")) == 7
    assert repr(word("a")) == "a word"


@DECORATORS
def test_a_value_without_fields_is_equal_to_its_like(dataclass: Callable[..., Any]) -> None:
    class Nothing:
        pass

    nothing = dataclass(frozen=True, slots=True)(Nothing)
    assert nothing() == nothing()
    assert hash(nothing()) == hash(nothing())


@DECORATORS
def test_fields_are_given_by_place_and_name_and_have_their_defaults(dataclass: Callable[..., Any]) -> None:
    class Node:
        name: str
        slots: int = 4
        port: int = 3632

    class Other:
        host: str
        jobs: int = 2
        loss: float = 0.5

    node, other = (dataclass(frozen=True, slots=True)(plain) for plain in (Node, Other))
    assert (node("a").name, node("a").slots, node("a").port) == ("a", 4, 3632)
    assert (other("b", loss=0.1).host, other("b", 3).jobs, other("b", loss=0.1).loss) == ("b", 3, 0.1)
    with pytest.raises(TypeError, match=r"Node.__init__\(\) missing 1 required positional argument: 'name'"):
        node()
    with pytest.raises(TypeError, match="unexpected keyword argument 'name'"):
        other("b", name="c")


@DECORATORS
def test_what_follows_the_assignments_is_done_and_what_a_class_inherits_is_kept(dataclass: Callable[..., Any]) -> None:
    class Base:
        width: int
        areas: list[int] = field(default_factory=list)

        def __post_init__(self) -> None:
            self.areas.append(self.width**2)

    base = dataclass()(Base)
    heir = dataclass()(type("Heir", (base,), {"__annotations__": {"height": "int"}, "height": 3}))
    assert base(2).areas == [4]
    assert (heir(2).height, heir(2, height=5).height, heir(2).areas) == (3, 5, [4])
