# SPDX-License-Identifier: GPL-2.0-or-later
"""Records behave as the dataclasses of the standard library do, but for their weight."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.records import fields, frozen, is_record, mutable, replace

T = TypeVar("T")


@frozen
class Nothing:
    """No field at all."""


@frozen
class One:
    name: str


@frozen
class Port(Generic[T]):
    """A port."""

    number: T
    name: str = "wan"
    links: tuple[One, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name} {self.number}"


@dataclasses.dataclass(frozen=True, slots=True)
class Standard(Generic[T]):
    number: T
    name: str = "wan"
    links: tuple[One, ...] = ()


@mutable
class Counter:
    name: str
    seen: int = 0


numbers = st.integers(0, 2)
names = st.sampled_from(["wan", "lan"])


@given(numbers, names, numbers, names)
def test_equality_and_hash_are_by_value(a: int, first: str, b: int, second: str) -> None:
    one, other = Port(a, first), Port(b, second)
    assert (one == other) == (Standard(a, first) == Standard(b, second))
    assert (hash(one) == hash(other)) == (one == other)
    others: list[object] = [first, Port(first)]
    assert One(first) not in others
    assert Nothing() == Nothing() and len({Nothing(), Nothing(), One("a"), One("a")}) == 2


@given(numbers, names)
def test_replace_and_repr_are_those_of_a_dataclass(number: int, name: str) -> None:
    port, standard = Port(number), Standard(number)
    assert replace(port, name=name) == Port(number, name)
    replaced = repr(dataclasses.replace(standard, name=name))
    assert repr(replace(port, name=name)) == replaced.replace("Standard", "Port")


def test_nothing_can_be_assigned_removed_or_added() -> None:
    port = Port(1)
    for name in ("number", "another"):
        with pytest.raises(AttributeError, match=f"Port is frozen: {name}"):
            setattr(port, name, 2)
        with pytest.raises(AttributeError, match=f"Port is frozen: {name}"):
            delattr(port, name)
    with pytest.raises(AttributeError):
        object.__setattr__(port, "another", 2)
    assert port == Port(1)


def test_what_is_missing_unknown_or_in_the_wrong_order_is_refused() -> None:
    wrong: list[dict[str, Any]] = [{}, {"number": 1, "colour": "red"}]
    for arguments in wrong:
        with pytest.raises(TypeError, match=r"Port.__init__\(\)"):
            Port(**arguments)
    with pytest.raises(SyntaxError):
        frozen(type("Wrong", (), {"__annotations__": {"a": int, "b": int}, "a": 1}))
    with pytest.raises(TypeError, match="base is a record already"):
        frozen(type("Heir", (One,), {"__annotations__": {"more": int}}))


def test_methods_documentation_and_matching_are_kept() -> None:
    assert (Port(3).title, Port.__doc__, fields(Port)) == (
        "wan 3",
        "A port.",
        ("number", "name", "links"),
    )
    match Port(3):
        case Port(number, name):
            assert (number, name) == (3, "wan")
    assert is_record(Port(3)) and is_record(Port)
    assert not is_record("wan") and not is_record(int)


def test_what_is_mutable_can_be_assigned_and_has_no_hash() -> None:
    counter = Counter("wan")
    counter.seen += 1
    assert counter == Counter("wan", 1) != Counter("wan")
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)
    with pytest.raises(AttributeError):
        counter.unknown = 1  # type: ignore[attr-defined]
