# SPDX-License-Identifier: GPL-2.0-or-later
"""Records <-> plain JSON values, driven by their type annotations.

Used for the event log, the state file and the status, so that each record has one
definition only. Unknown keys are an error: a state file of a newer version must not be
half understood.
"""

from __future__ import annotations

import types
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from flowguard.core.records import fields, is_record

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """The JSON value of a record, enum, tuple or plain value."""
    if is_record(value):
        return {name: to_json(getattr(value, name)) for name in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    return value


def from_json(cls: type[T], value: Any) -> T:
    """Build `cls` from a JSON object; ValueError says what does not fit, and where."""
    result = _decode(cls, value, cls.__name__)
    assert isinstance(result, cls)
    return result


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_optional(kind, value, where)
    if origin is tuple:
        return _decode_tuple(get_args(kind), value, where)
    if is_record(kind):
        return _decode_record(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(str(member.value) for member in kind)
            raise ValueError(f"{where}: {value!r} is none of {allowed}") from None
    return _decode_scalar(kind, value, where)


def _decode_optional(kind: Any, value: Any, where: str) -> Any:
    if value is None:
        return None
    (inner,) = (k for k in get_args(kind) if k is not type(None))
    return _decode(inner, value, where)


def _decode_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list, not {value!r}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_decode(kinds[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(kinds) != len(value):
        raise ValueError(f"{where}: expected {len(kinds)} items, not {len(value)}")
    pairs = zip(kinds, value, strict=True)
    return tuple(_decode(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(pairs))


def _decode_record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object, not {value!r}")
    hints = _hints(kind)
    unknown = value.keys() - hints.keys()
    if unknown:
        raise ValueError(f"{where}: unknown key {sorted(unknown)[0]!r}")
    decoded = {k: _decode(hints[k], v, f"{where}.{k}") for k, v in value.items()}
    try:
        return kind(**decoded)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


def _decode_scalar(kind: Any, value: Any, where: str) -> Any:
    fits = isinstance(value, kind) and not (kind is not bool and isinstance(value, bool))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not fits:
        raise ValueError(f"{where}: expected {kind.__name__}, not {value!r}")
    return value
