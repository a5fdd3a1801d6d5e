# SPDX-License-Identifier: GPL-2.0-or-later
"""Records: dataclasses with slots, nearly all of them frozen, as light as a router wants them.

`@dataclass(frozen=True, slots=True)` compiles six methods for each class when it is imported,
makes the class twice and keeps a description of every field. For the hundred and fifty records
of this program that is a third of the daemon's start and 1.5 MB of its memory. `@frozen` makes
the same out of methods that exist once; only `__init__` is compiled for each class, because
records are made far more often than classes are. Type checkers treat both alike (PEP 681).
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """A class of records out of one with annotated fields.

    It gets `__init__` with the fields in their order, equality and hash by value, a repr,
    `__match_args__` and slots, and refuses assignments with AttributeError. Methods of the
    class's own are kept, but for an `__init__`. A default is one object for all records, so it
    must not change. TypeError: records do not inherit from records.
    """
    return _record(cls, _FROZEN)


@dataclass_transform()
def mutable(cls: type[T]) -> type[T]:
    """The same, but its fields can be assigned, and therefore it has no hash."""
    return _record(cls, _MUTABLE)


def _record(cls: type[T], methods: dict[str, Any]) -> type[T]:
    if is_record(cls):
        raise TypeError(f"{cls.__qualname__}: its base is a record already")
    names = tuple(cls.__annotations__)
    space = {**methods, **vars(cls)}
    defaults = {name: space.pop(name) for name in names if name in space}
    # Both belong to classes without slots; the class is made anew, because slots cannot be added.
    del space["__dict__"], space["__weakref__"]
    space["__init__"] = _initializer(cls, names, defaults)
    space["__slots__"] = space["__match_args__"] = names
    space["_values"] = attrgetter(*names) if names else staticmethod(_no_values)
    metaclass: Any = type(cls)
    made: type[T] = metaclass(cls.__name__, cls.__bases__, space)
    made.__qualname__ = cls.__qualname__
    return made


def is_record(value: object) -> bool:
    """Is this a record, or a class of records?"""
    return hasattr(value, "_values")


def fields(record: Any) -> tuple[str, ...]:
    """The names of a record's fields, or of those of a class of records."""
    names: tuple[str, ...] = record.__match_args__
    return names


if TYPE_CHECKING:
    # Of this one type checkers know that it looks at the fields of what it is given.
    from dataclasses import replace as replace
else:

    def replace(record: T, /, **changes: Any) -> T:
        """The same record but for these fields."""
        values = {name: getattr(record, name) for name in fields(record)}
        return record.__class__(**{**values, **changes})


_GLOBALS = {"assign": object.__setattr__}


def _initializer(cls: type, names: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    parameters = [f"{name}=None" if name in defaults else name for name in names]
    lines = [f" assign(self, {name!r}, {name})" for name in names] or [" pass"]
    made: dict[str, Any] = {}
    exec("\n".join([f"def __init__({', '.join(['self', *parameters])}):", *lines]), _GLOBALS, made)
    initializer = made["__init__"]
    initializer.__defaults__ = tuple(defaults.values())
    initializer.__qualname__ = f"{cls.__qualname__}.__init__"
    return initializer


def _no_values(record: object) -> tuple[()]:
    return ()


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._values(self) == self._values(other)


def _hash(self: Any) -> int:
    return hash(self._values(self))


def _repr(self: Any) -> str:
    told = ", ".join(f"{name}={getattr(self, name)!r}" for name in fields(self))
    return f"{self.__class__.__qualname__}({told})"


def _refuse(self: Any, name: str, *_: object) -> NoReturn:
    raise AttributeError(f"{self.__class__.__qualname__} is frozen: {name} cannot be changed")


_MUTABLE = {"__eq__": _equal, "__hash__": None, "__repr__": _repr}
_FROZEN = {**_MUTABLE, "__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse}
