# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections read straight from the kernel's messages, about 2 microseconds each.

The messages of a table have few different layouts, that is, sequences of attribute types
and lengths. The first message of a layout is walked attribute by attribute; what was
learned then reads the others of it with one comparison and one struct.
"""

from __future__ import annotations

import struct
from operator import itemgetter
from typing import Any, NamedTuple

from flowguard.core.records import frozen
from flowguard.kernel.conntrack.flow import Flow, parse_flow
from flowguard.kernel.conntrack.numbers import (
    CTA_COUNTERS32_BYTES,
    CTA_COUNTERS32_PACKETS,
    CTA_COUNTERS_BYTES,
    CTA_COUNTERS_ORIG,
    CTA_COUNTERS_PACKETS,
    CTA_COUNTERS_REPLY,
    CTA_ID,
    CTA_MARK,
    CTA_PROTO_NUM,
    CTA_PROTOINFO,
    CTA_PROTOINFO_TCP,
    CTA_PROTOINFO_TCP_STATE,
    CTA_STATUS,
    CTA_TIMEOUT,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
    CTA_TUPLE_REPLY,
    CTA_ZONE,
    SUBSYSTEM,
    Filter,
)
from flowguard.kernel.netlink.codec import ATTRIBUTE, HEADER, NFGEN, MalformedMessage, attributes

START = struct.Struct("=IHH")
BODY = HEADER.size + NFGEN.size
FIRST_KIND = 0x10  # NLMSG_MIN_TYPE: below are netlink's own messages
LAYOUTS_PER_LENGTH = 8


class Entry(NamedTuple):
    """One connection as a dump or a DESTROY event shows it.

    Packets and bytes are 0 where the kernel did not count (`counted`). `tcp_state` is one
    of enum tcp_conntrack, None without protocol information: other protocols, and dumps
    of offloaded flows. `timeout` is in seconds. It is None in dumps of offloaded flows.
    In a DESTROY a number says that the connection was killed before its time (deleted,
    flushed, its device went down) and None that it expired.
    `key` is the original direction as the kernel encodes it, equal in dumps and events;
    `zone` is that of both directions, and one of a direction's own is in its key.
    """

    id: int
    status: int
    mark: int
    protocol: int
    original_packets: int
    original_bytes: int
    reply_packets: int
    reply_bytes: int
    counted: bool
    tcp_state: int | None
    timeout: int | None
    key: bytes
    reply_key: bytes
    zone: int = 0

    def flow(self) -> Flow:
        """Both directions in words; raises MalformedMessage."""
        if not (self.key and self.reply_key):
            raise MalformedMessage("connection without both tuples")
        return parse_flow(self.key, self.reply_key, self.zone)


class Datagram(NamedTuple):
    """What a datagram of conntrack messages holds.

    `flags` are those of all its messages together; `rest` is the offset of the first
    message of netlink's own (the end of a dump, an error) or the datagram's length.
    """

    entries: list[Entry]
    flags: int
    rest: int


def parse(buffer: bytes) -> Datagram:
    """The connections of one datagram; raises MalformedMessage."""
    found: list[Entry] = []
    append, start, new, from_bytes = found.append, START.unpack_from, tuple.__new__, int.from_bytes
    layouts = _layouts
    offset, size, all_flags = 0, len(buffer), 0
    while offset < size:
        if offset + HEADER.size > size:
            raise MalformedMessage(f"netlink header of {size - offset} bytes")
        length, kind, flags = start(buffer, offset)
        end = offset + length
        if length < HEADER.size or end > size:
            raise MalformedMessage(f"netlink message of length {length}")
        all_flags |= flags
        if kind < FIRST_KIND:
            break
        if kind >> 8 == SUBSYSTEM:
            body = buffer[offset + BODY : end]
            bits = from_bytes(body, "little")
            for layout in layouts.get(length, ()):
                if bits & layout.mask == layout.headers:
                    break
            else:
                layout = _learn(length, body)
            values = layout.unpack(body) + layout.constants
            append(new(Entry, layout.pick(values)))
        offset = (end + 3) & ~3
    return Datagram(found, all_flags, min(offset, size))


def matching(entries: list[Entry], wanted: Filter) -> list[Entry]:
    """Those of the entries that match: kernels before 5.15 ignore the filter of a dump."""
    if wanted.accepts_all:
        return entries
    status, status_mask = wanted.status, wanted.status_mask
    mark, mark_mask = wanted.mark, wanted.mark_mask
    return [
        entry
        for entry in entries
        if entry.status & status_mask == status and entry.mark & mark_mask == mark
    ]


class _Value(NamedTuple):
    """An attribute of interest: the field it fills, and its form as struct(3) has it."""

    field: str
    form: str


# A table of the attributes inside an attribute.
_Nest = dict[int, "_Value | _Nest"]


def _counters(direction: str) -> _Nest:
    return {
        CTA_COUNTERS_PACKETS: _Value(f"{direction}_packets", "Q"),
        CTA_COUNTERS_BYTES: _Value(f"{direction}_bytes", "Q"),
        CTA_COUNTERS32_PACKETS: _Value(f"{direction}_packets", "I"),
        CTA_COUNTERS32_BYTES: _Value(f"{direction}_bytes", "I"),
    }


_ATTRIBUTES: _Nest = {
    CTA_TUPLE_ORIG: _Value("key", "s"),
    CTA_TUPLE_REPLY: _Value("reply_key", "s"),
    CTA_STATUS: _Value("status", "I"),
    CTA_PROTOINFO: {CTA_PROTOINFO_TCP: {CTA_PROTOINFO_TCP_STATE: _Value("tcp_state", "B")}},
    CTA_TIMEOUT: _Value("timeout", "I"),
    CTA_MARK: _Value("mark", "I"),
    CTA_COUNTERS_ORIG: _counters("original"),
    CTA_COUNTERS_REPLY: _counters("reply"),
    CTA_ID: _Value("id", "I"),
    CTA_ZONE: _Value("zone", "H"),
}
_ABSENT = Entry(0, 0, 0, 0, 0, 0, 0, 0, False, None, None, b"", b"")


@frozen
class _Layout:
    """How to read all messages whose bits under `mask` are `headers`.

    The protocol number counts as part of the layout, because it lies inside the key.
    """

    mask: int
    headers: int
    unpack: Any  # The bound method of a Struct, which is what the loop needs.
    constants: tuple[Any, ...]
    pick: itemgetter[Any]


_layouts: dict[int, list[_Layout]] = {}


def _learn(length: int, body: bytes) -> _Layout:
    layout = _Walk(body).layout()
    known = _layouts.setdefault(length, [])
    if len(known) == LAYOUTS_PER_LENGTH:
        known.clear()
    known.append(layout)
    return layout


class _Walk:
    """One walk over the attributes of a message, noting where everything lies."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._mask = bytearray(len(body))
        self._form = ["!"]
        self._position = 0
        self._fields: list[str] = []
        self._protocol = 0
        self._walk(0, len(body), _ATTRIBUTES)

    def layout(self) -> _Layout:
        mask = int.from_bytes(self._mask, "little")
        unpack = struct.Struct("".join([*self._form, f"{self._left(len(self._body))}x"])).unpack
        counted = any(field.endswith("_packets") for field in self._fields)
        constants = _ABSENT._replace(protocol=self._protocol, counted=counted)
        # Of an attribute that comes twice the last counts.
        places = {field: place for place, field in enumerate(self._fields)}
        absent = enumerate(Entry._fields, len(self._fields))
        pick = itemgetter(*(places.get(field, place) for place, field in absent))
        headers = int.from_bytes(self._body, "little") & mask
        return _Layout(mask, headers, unpack, tuple(constants), pick)

    def _walk(self, start: int, end: int, wanted: _Nest) -> None:
        for kind, first, last in attributes(self._body, start, end):
            self._require(first - ATTRIBUTE.size, first)
            inside = wanted.get(kind)
            if isinstance(inside, _Value):
                self._take(inside, first, last)
                if kind == CTA_TUPLE_ORIG and wanted is _ATTRIBUTES:
                    self._find_protocol(first, last)
            elif inside is not None:
                self._walk(first, last, inside)

    def _take(self, value: _Value, first: int, last: int) -> None:
        size = last - first
        form = f"{size}s" if value.form == "s" else value.form
        if struct.calcsize(f"!{form}") != size:
            raise MalformedMessage(f"{value.field} of {size} bytes")
        self._form += [f"{self._left(first)}x", form]
        self._position = last
        self._fields.append(value.field)

    def _find_protocol(self, start: int, end: int) -> None:
        self._protocol = 0
        for kind, first, last in attributes(self._body, start, end):
            self._require(first - ATTRIBUTE.size, first)
            if kind != CTA_TUPLE_PROTO:
                continue
            for inner, at, after in attributes(self._body, first, last):
                self._require(at - ATTRIBUTE.size, at)
                if inner == CTA_PROTO_NUM:
                    if after - at != 1:
                        raise MalformedMessage(f"protocol of {after - at} bytes")
                    self._require(at, after)
                    self._protocol = self._body[at]

    def _require(self, start: int, end: int) -> None:
        self._mask[start:end] = b"\xff" * (end - start)

    def _left(self, end: int) -> int:
        return end - self._position
