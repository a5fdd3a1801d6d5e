# SPDX-License-Identifier: GPL-2.0-or-later
"""nf_tables messages for the objects of one of our tables, encoded by pyroute2's classes.

Attributes: include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from flowguard.core.model import Family
from flowguard.core.records import frozen, replace
from flowguard.kernel.netlink.codec import (
    HEADER,
    NESTED,
    NFGEN,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    attribute,
    attributes,
    extended,
)
from flowguard.kernel.netlink.ip_addresses import packed, written
from flowguard.kernel.nftables import names
from flowguard.kernel.nftables.names import (
    CHAIN,
    DEVICE_SET,
    FLOWTABLE,
    HOST_SETS,
    IFNAME_SIZE,
    padded_name,
)
from flowguard.kernel.nftables.objects import (
    ChainMessage,
    ElementsMessage,
    FlowtableFlag,
    FlowtableMessage,
    Kind,
    RuleMessage,
    SetMessage,
    TableMessage,
)

SUBSYSTEM = 10
FAMILY_INET = 1
HOOK_FORWARD = 2
ACCEPT = 1
TYPE_IFNAME = 41
# Type (nftables' own), length in bytes, and a number of its own in the transaction.
HOST_KEYS = {Family.IPV4: (7, 4, 2), Family.IPV6: (8, 16, 3)}
NFTA_ELEMENTS, NFTA_ELEMENT, NFTA_KEY, NFTA_VALUE = 3, 1, 1, 1
NFTA_RULE_EXPRESSIONS, NFTA_RULE_USERDATA = 4, 7
COMMENT = 0  # the type in nftables' own type-length-value format
# nftables' own format, NFTNL_UDATA_SET_KEYBYTEORDER: the host's, so that nft prints names as text.
KEY_BYTE_ORDER = bytes((0, 4)) + struct.pack("=I", 1)


@frozen
class Request:
    """One encoded message; `what` says in words what it asks for."""

    what: str
    data: bytes


def new_table(table: str) -> Request:
    return _table(table, Kind.NEW_TABLE, NLM_F_CREATE, f"table {table}")


def delete_table(table: str) -> Request:
    return _table(table, Kind.DELETE_TABLE, 0, f"delete table {table}")


@cache
def get_table(table: str) -> Request:
    return _table(table, Kind.GET_TABLE, 0, f"read table {table}")


def _table(table: str, kind: Kind, flags: int, what: str) -> Request:
    return _request(TableMessage, kind, flags, what, [("NFTA_TABLE_NAME", table)])


def new_chain(table: str, priority: int) -> Request:
    hook = [("NFTA_HOOK_HOOKNUM", HOOK_FORWARD), ("NFTA_HOOK_PRIORITY", priority)]
    fields = [
        ("NFTA_CHAIN_TABLE", table),
        ("NFTA_CHAIN_NAME", CHAIN),
        ("NFTA_CHAIN_HOOK", {"attrs": hook}),
        ("NFTA_CHAIN_TYPE", "filter"),
        ("NFTA_CHAIN_POLICY", ACCEPT),
    ]
    what = f"forward chain in table {table}"
    return _request(ChainMessage, Kind.NEW_CHAIN, NLM_F_CREATE, what, fields)


@cache
def get_chain(table: str) -> Request:
    fields = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", CHAIN)]
    what = f"read forward chain in table {table}"
    return _request(ChainMessage, Kind.GET_CHAIN, 0, what, fields)


def new_set(table: str) -> Request:
    """The set of devices."""
    what = f"set of devices in table {table}"
    order = ("NFTA_SET_USERDATA", KEY_BYTE_ORDER)
    return _new_set(table, DEVICE_SET, TYPE_IFNAME, IFNAME_SIZE, 1, what, order)


def new_host_set(table: str, family: Family) -> Request:
    what = f"set of {family} hosts in table {table}"
    return _new_set(table, HOST_SETS[family], *HOST_KEYS[family], what)


def _new_set(
    table: str, name: str, key: int, length: int, number: int, what: str, *more: tuple[str, Any]
) -> Request:
    fields = [
        ("NFTA_SET_TABLE", table),
        ("NFTA_SET_NAME", name),
        ("NFTA_SET_KEY_TYPE", key),
        ("NFTA_SET_KEY_LEN", length),
        ("NFTA_SET_ID", number),
        *more,
    ]
    return _request(SetMessage, Kind.NEW_SET, NLM_F_CREATE, what, fields)


def get_host_set(table: str, family: Family) -> Request:
    """For a look whether it exists."""
    fields = [("NFTA_SET_TABLE", table), ("NFTA_SET_NAME", HOST_SETS[family])]
    what = f"read set of {family} hosts in table {table}"
    return _request(SetMessage, Kind.GET_SET, 0, what, fields)


def add_elements(table: str, devices: Sequence[str]) -> Request:
    what = f"devices {', '.join(devices)} in the set of table {table}"
    keys = map(padded_name, devices)
    return _elements(table, DEVICE_SET, Kind.NEW_ELEMENTS, NLM_F_CREATE, what, keys)


def delete_elements(table: str, devices: Sequence[str]) -> Request:
    what = f"remove devices {', '.join(devices)} from the set of table {table}"
    keys = map(padded_name, devices)
    return _elements(table, DEVICE_SET, Kind.DELETE_ELEMENTS, 0, what, keys)


def add_hosts(table: str, hosts: Sequence[str]) -> list[Request]:
    """None for a family without any."""
    what = f"hosts in table {table}"
    return _hosts(table, Kind.NEW_ELEMENTS, NLM_F_CREATE, what, hosts)


def delete_hosts(table: str, hosts: Sequence[str]) -> list[Request]:
    """None for a family without any."""
    return _hosts(table, Kind.DELETE_ELEMENTS, 0, f"remove hosts from table {table}", hosts)


def _hosts(table: str, kind: Kind, flags: int, what: str, hosts: Sequence[str]) -> list[Request]:
    requests = []
    for family in Family:
        keys = [packed(h) for h in hosts if (":" in h) is (family is Family.IPV6)]
        if keys:
            requests.append(_elements(table, HOST_SETS[family], kind, flags, what, keys))
    return requests


@cache
def get_elements(table: str, name: str = DEVICE_SET) -> Request:
    what = f"read set {name} of table {table}"
    return _elements(table, name, Kind.GET_ELEMENTS, 0, what, ())


def _elements(
    table: str, name: str, kind: Kind, flags: int, what: str, keys: Iterable[bytes]
) -> Request:
    fields = [("NFTA_SET_ELEM_LIST_TABLE", table), ("NFTA_SET_ELEM_LIST_SET", name)]
    request = _request(ElementsMessage, kind, flags, what, fields)
    # By hand: there may be hundreds.
    elements = b"".join(map(_element, keys))
    if not elements:
        return request
    return replace(request, data=extended(request.data, NFTA_ELEMENTS | NESTED, elements))


def _element(key: bytes) -> bytes:
    value = attribute(NFTA_KEY | NESTED, attribute(NFTA_VALUE, key))
    return attribute(NFTA_ELEMENT | NESTED, value)


def new_flowtable(table: str, priority: int, hardware: bool, devices: Sequence[str]) -> Request:
    """Create it, or add the devices it does not have yet."""
    flags = FlowtableFlag.COUNTER | (FlowtableFlag.HARDWARE if hardware else 0)
    fields = [
        *_flowtable_devices(table, devices, priority),
        ("NFTA_FLOWTABLE_FLAGS", flags),
    ]
    what = f"{'hardware' if hardware else 'software'} flowtable on {', '.join(devices)}"
    return _flowtable(Kind.NEW_FLOWTABLE, NLM_F_CREATE, what, fields)


def delete_flowtable_devices(table: str, priority: int, devices: Sequence[str]) -> Request:
    what = f"remove {', '.join(devices)} from the flowtable of table {table}"
    fields = _flowtable_devices(table, devices, priority)
    return _flowtable(Kind.DELETE_FLOWTABLE, 0, what, fields)


@cache
def get_flowtable(table: str) -> Request:
    what = f"read flowtable of table {table}"
    fields = [("NFTA_FLOWTABLE_TABLE", table), ("NFTA_FLOWTABLE_NAME", FLOWTABLE)]
    return _flowtable(Kind.GET_FLOWTABLE, 0, what, fields)


@cache
def get_all_flowtables() -> Request:
    """For a dump of the flowtables of every table and family."""
    what = "read all flowtables"
    return _request(FlowtableMessage, Kind.GET_FLOWTABLE, 0, what, [], family=0)


def _flowtable_devices(table: str, devices: Sequence[str], priority: int) -> list[tuple[str, Any]]:
    # As bytes, because pyroute2 encodes only what is proper UTF-8.
    hooked = [("NFTA_DEVICE_NAME", os.fsencode(device)) for device in devices]
    hook = [
        ("NFTA_FLOWTABLE_HOOK_NUM", 0),
        ("NFTA_FLOWTABLE_HOOK_PRIORITY", priority),
        ("NFTA_FLOWTABLE_HOOK_DEVS", {"attrs": hooked}),
    ]
    return [
        ("NFTA_FLOWTABLE_TABLE", table),
        ("NFTA_FLOWTABLE_NAME", FLOWTABLE),
        ("NFTA_FLOWTABLE_HOOK", {"attrs": hook}),
    ]


def _flowtable(kind: Kind, flags: int, what: str, fields: list[tuple[str, Any]]) -> Request:
    return _request(FlowtableMessage, kind, flags, what, fields)


def new_rule(table: str, expressions: bytes, seed: int | None = None) -> Request:
    """Append a rule, with its comment; `seed` is what it draws by, if it does."""
    flags = NLM_F_CREATE | NLM_F_APPEND
    request = _rules(table, Kind.NEW_RULE, flags, f"rule in table {table}")
    text = names.rule_comment(expressions, seed).encode() + b"\0"
    data = extended(request.data, NFTA_RULE_EXPRESSIONS | NESTED, expressions)
    data = extended(data, NFTA_RULE_USERDATA, bytes((COMMENT, len(text))) + text)
    return replace(request, data=data)


def delete_rules(table: str) -> Request:
    """Delete all rules of our chain; it must exist."""
    return _rules(table, Kind.DELETE_RULE, 0, f"delete the rules of table {table}")


def get_rules(table: str) -> Request:
    return _rules(table, Kind.GET_RULE, 0, f"read the rules of table {table}")


@cache
def _rules(table: str, kind: Kind, flags: int, what: str) -> Request:
    fields = [("NFTA_RULE_TABLE", table), ("NFTA_RULE_CHAIN", CHAIN)]
    return _request(RuleMessage, kind, flags, what, fields)


def chain_priority(data: bytes) -> int | None:
    """The priority of a chain hooked where ours is; None for any other chain."""
    hook = _decoded(ChainMessage, data).get_attr("NFTA_CHAIN_HOOK")
    if hook is None or hook.get_attr("NFTA_HOOK_HOOKNUM") != HOOK_FORWARD:
        return None
    return int(hook.get_attr("NFTA_HOOK_PRIORITY"))


def is_hardware(data: bytes) -> bool:
    flags = _decoded(FlowtableMessage, data).get_attr("NFTA_FLOWTABLE_FLAGS")
    return bool((flags or 0) & FlowtableFlag.HARDWARE)


def flowtable_table(data: bytes) -> str:
    return os.fsdecode(_decoded(FlowtableMessage, data).get_attr("NFTA_FLOWTABLE_TABLE"))


def flowtable_devices(data: bytes) -> tuple[str, ...]:
    hook = _decoded(FlowtableMessage, data).get_attr("NFTA_FLOWTABLE_HOOK")
    devices = hook.get_attr("NFTA_FLOWTABLE_HOOK_DEVS") if hook else None
    # What is no UTF-8 comes as bytes.
    found = devices.get_attrs("NFTA_DEVICE_NAME") if devices else ()
    return tuple(sorted(map(os.fsdecode, found)))


def set_names(data: bytes) -> list[str]:
    """The interface names among a set's elements."""
    return [os.fsdecode(key.rstrip(b"\0")) for key in _keys(data)]


def set_hosts(data: bytes) -> list[str]:
    """The addresses among a set's elements."""
    return [written(key) for key in _keys(data)]


def _keys(data: bytes) -> Iterator[bytes]:
    """Of all elements; down through the list, the element, its key, the key's value."""
    start = HEADER.size + NFGEN.size
    for first, last in _inside(data, start, len(data), NFTA_ELEMENTS):
        for element in _inside(data, first, last, NFTA_ELEMENT):
            for key in _inside(data, *element, NFTA_KEY):
                for value in _inside(data, *key, NFTA_VALUE):
                    yield data[slice(*value)]


def _inside(data: bytes, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    return ((first, last) for kind, first, last in attributes(data, start, end) if kind == wanted)


def rule_comment(data: bytes) -> str:
    """The comment of a rule, or nothing for a rule that has no readable one."""
    for kind, first, last in attributes(data, HEADER.size + NFGEN.size, len(data)):
        if kind == NFTA_RULE_USERDATA and last - first > 2 and data[first] == COMMENT:
            return data[first + 2 : last].rstrip(b"\0").decode(errors="replace")
    return ""


def _decoded(message: Any, data: bytes) -> Any:
    decoded = message(data)
    decoded.decode()
    return decoded


def _request(
    message: Any,
    kind: Kind,
    flags: int,
    what: str,
    fields: Iterable[tuple[str, Any]],
    family: int = FAMILY_INET,
) -> Request:
    encoded = message()
    encoded["attrs"] = list(fields)
    encoded["nfgen_family"] = family
    encoded["header"]["type"] = SUBSYSTEM << 8 | kind
    encoded["header"]["flags"] = NLM_F_REQUEST | flags
    encoded.encode()
    return Request(what, bytes(encoded.data))
