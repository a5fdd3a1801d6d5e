# SPDX-License-Identifier: GPL-2.0-or-later
"""nf_tables messages for the objects of one of our tables, encoded by pyroute2's classes.

Attributes: include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from flowguard.offload.narrow_pyroute2 import pyroute2_module
from flowguard.offload.nfnetlink import (
    FAMILY_INET,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    SUBSYSTEM,
    Request,
)

_nft = pyroute2_module("netlink.nfnetlink.nftsocket")
_nla = pyroute2_module("netlink").nla

CHAIN = "forward"
FLOWTABLE = "flows"
DEVICE_SET = "devices"

HOOK_FORWARD = 2
ACCEPT = 1
TYPE_IFNAME = 41
IFNAME_SIZE = 16
COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT
# Host byte order, so that nft prints the names as text.
KEY_BYTE_ORDER = [("NFTNL_UDATA_SET_KEYBYTEORDER", struct.pack("=I", 1))]

HARDWARE_FLAG = "NFT_FLOWTABLE_HW_OFFLOAD"
COUNTER_FLAG = "NFT_FLOWTABLE_COUNTER"

Expression = dict[str, Any]


# The kernel calls the expression flow_offload; pyroute2 has it under another name only, and
# its type for the comment differs between versions.
_flow_offload: Any = type(
    "nft_flow_offload",
    (_nla,),
    {"nla_map": (("NFTA_FLOW_UNSPEC", "none"), ("NFTA_FLOW_TABLE_NAME", "asciiz"))},
)
_expression: Any = type(
    "nft_expr", (_nft.nft_rule_msg.nft_expr,), {"nft_flow_offload": _flow_offload}
)
RuleMessage: Any = type(
    "RuleMessage",
    (_nft.nft_rule_msg,),
    {
        "nla_map": tuple(
            (name, "cdata" if name == "NFTA_RULE_USERDATA" else kind)
            for name, kind in _nft.nft_rule_msg.nla_map
        ),
        "nft_expr": _expression,
    },
)


def new_table(table: str) -> Request:
    return _table(table, _nft.NFT_MSG_NEWTABLE, NLM_F_CREATE, f"table {table}")


def delete_table(table: str) -> Request:
    return _table(table, _nft.NFT_MSG_DELTABLE, 0, f"delete table {table}")


def get_table(table: str) -> Request:
    return _table(table, _nft.NFT_MSG_GETTABLE, 0, f"read table {table}")


def _table(table: str, kind: int, flags: int, what: str) -> Request:
    return _request(_nft.nft_table_msg, kind, flags, what, [("NFTA_TABLE_NAME", table)])


def new_chain(table: str, priority: int) -> Request:
    hook = [("NFTA_HOOK_HOOKNUM", HOOK_FORWARD), ("NFTA_HOOK_PRIORITY", priority)]
    attributes = [
        ("NFTA_CHAIN_TABLE", table),
        ("NFTA_CHAIN_NAME", CHAIN),
        ("NFTA_CHAIN_HOOK", {"attrs": hook}),
        ("NFTA_CHAIN_TYPE", "filter"),
        ("NFTA_CHAIN_POLICY", ACCEPT),
    ]
    what = f"forward chain in table {table}"
    return _request(_nft.nft_chain_msg, _nft.NFT_MSG_NEWCHAIN, NLM_F_CREATE, what, attributes)


def get_chain(table: str) -> Request:
    attributes = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", CHAIN)]
    what = f"read forward chain in table {table}"
    return _request(_nft.nft_chain_msg, _nft.NFT_MSG_GETCHAIN, 0, what, attributes)


def new_set(table: str) -> Request:
    attributes = [
        ("NFTA_SET_TABLE", table),
        ("NFTA_SET_NAME", DEVICE_SET),
        ("NFTA_SET_KEY_TYPE", TYPE_IFNAME),
        ("NFTA_SET_KEY_LEN", IFNAME_SIZE),
        ("NFTA_SET_ID", 1),
        ("NFTA_SET_USERDATA", KEY_BYTE_ORDER),
    ]
    what = f"set of devices in table {table}"
    return _request(_nft.nft_set_msg, _nft.NFT_MSG_NEWSET, NLM_F_CREATE, what, attributes)


def add_elements(table: str, names: Sequence[str]) -> Request:
    what = f"devices {', '.join(names)} in the set of table {table}"
    return _elements(table, _nft.NFT_MSG_NEWSETELEM, NLM_F_CREATE, what, names)


def delete_elements(table: str, names: Sequence[str]) -> Request:
    what = f"remove devices {', '.join(names)} from the set of table {table}"
    return _elements(table, _nft.NFT_MSG_DELSETELEM, 0, what, names)


def get_elements(table: str) -> Request:
    what = f"read set of devices in table {table}"
    return _elements(table, _nft.NFT_MSG_GETSETELEM, 0, what, [])


def _elements(table: str, kind: int, flags: int, what: str, names: Sequence[str]) -> Request:
    attributes: list[tuple[str, Any]] = [
        ("NFTA_SET_ELEM_LIST_TABLE", table),
        ("NFTA_SET_ELEM_LIST_SET", DEVICE_SET),
    ]
    if names:
        elements = [{"attrs": [("NFTA_SET_ELEM_KEY", value(padded_name(n)))]} for n in names]
        attributes.append(("NFTA_SET_ELEM_LIST_ELEMENTS", elements))
    return _request(_nft.nft_set_elem_list_msg, kind, flags, what, attributes)


def new_flowtable(table: str, priority: int, hardware: bool, devices: Sequence[str]) -> Request:
    """Create it, or add the devices it does not have yet."""
    flags = {HARDWARE_FLAG, COUNTER_FLAG} if hardware else {COUNTER_FLAG}
    attributes = [
        *_flowtable_devices(table, devices, priority),
        ("NFTA_FLOWTABLE_FLAGS", frozenset(flags)),
    ]
    what = f"{'hardware' if hardware else 'software'} flowtable on {', '.join(devices)}"
    request = _flowtable(_nft.NFT_MSG_NEWFLOWTABLE, NLM_F_CREATE, what, attributes)
    return replace(request, binds=tuple(devices)) if hardware else request


def delete_flowtable_devices(table: str, priority: int, devices: Sequence[str]) -> Request:
    what = f"remove {', '.join(devices)} from the flowtable of table {table}"
    attributes = _flowtable_devices(table, devices, priority)
    return _flowtable(_nft.NFT_MSG_DELFLOWTABLE, 0, what, attributes)


def get_flowtable(table: str) -> Request:
    what = f"read flowtable of table {table}"
    attributes = [("NFTA_FLOWTABLE_TABLE", table), ("NFTA_FLOWTABLE_NAME", FLOWTABLE)]
    return _flowtable(_nft.NFT_MSG_GETFLOWTABLE, 0, what, attributes)


def _flowtable_devices(table: str, devices: Sequence[str], priority: int) -> list[tuple[str, Any]]:
    hook = [
        ("NFTA_FLOWTABLE_HOOK_NUM", 0),
        ("NFTA_FLOWTABLE_HOOK_PRIORITY", priority),
        ("NFTA_FLOWTABLE_HOOK_DEVS", {"attrs": [("NFTA_DEVICE_NAME", d) for d in devices]}),
    ]
    return [
        ("NFTA_FLOWTABLE_TABLE", table),
        ("NFTA_FLOWTABLE_NAME", FLOWTABLE),
        ("NFTA_FLOWTABLE_HOOK", {"attrs": hook}),
    ]


def _flowtable(kind: int, flags: int, what: str, attributes: list[tuple[str, Any]]) -> Request:
    return _request(_nft.nft_flowtable_msg, kind, flags, what, attributes)


def new_rule(table: str, expressions: Sequence[Expression], comment: str) -> Request:
    """Append a rule; nft shows the comment."""
    text = comment.encode() + b"\0"
    attributes = [
        ("NFTA_RULE_TABLE", table),
        ("NFTA_RULE_CHAIN", CHAIN),
        ("NFTA_RULE_EXPRESSIONS", list(expressions)),
        ("NFTA_RULE_USERDATA", bytes((COMMENT, len(text))) + text),
    ]
    flags = NLM_F_CREATE | NLM_F_APPEND
    what = f"rule in table {table}"
    return _request(RuleMessage, _nft.NFT_MSG_NEWRULE, flags, what, attributes)


def delete_rules(table: str) -> Request:
    """Delete all rules of our chain; it must exist."""
    return _rules(table, _nft.NFT_MSG_DELRULE, f"delete the rules of table {table}")


def get_rules(table: str) -> Request:
    return _rules(table, _nft.NFT_MSG_GETRULE, f"read the rules of table {table}")


def _rules(table: str, kind: int, what: str) -> Request:
    attributes = [("NFTA_RULE_TABLE", table), ("NFTA_RULE_CHAIN", CHAIN)]
    return _request(RuleMessage, kind, 0, what, attributes)


def chain_priority(data: bytes) -> int | None:
    """The priority of a chain hooked where ours is; None for any other chain."""
    hook = _decoded(_nft.nft_chain_msg, data).get_attr("NFTA_CHAIN_HOOK")
    if hook is None or hook.get_attr("NFTA_HOOK_HOOKNUM") != HOOK_FORWARD:
        return None
    return int(hook.get_attr("NFTA_HOOK_PRIORITY"))


def is_hardware(data: bytes) -> bool:
    flags = _decoded(_nft.nft_flowtable_msg, data).get_attr("NFTA_FLOWTABLE_FLAGS")
    return HARDWARE_FLAG in (flags or ())


def flowtable_devices(data: bytes) -> tuple[str, ...]:
    hook = _decoded(_nft.nft_flowtable_msg, data).get_attr("NFTA_FLOWTABLE_HOOK")
    devices = hook.get_attr("NFTA_FLOWTABLE_HOOK_DEVS") if hook else None
    return tuple(sorted(devices.get_attrs("NFTA_DEVICE_NAME"))) if devices else ()


def set_names(data: bytes) -> list[str]:
    """The interface names among a set's elements."""
    message = _decoded(_nft.nft_set_elem_list_msg, data)
    elements = message.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or []
    keys = [e.get_attr("NFTA_SET_ELEM_KEY").get_attr("NFTA_DATA_VALUE") for e in elements]
    return [bytes(key).rstrip(b"\0").decode() for key in keys]


def rule_comment(data: bytes) -> str:
    """The comment of a rule, or nothing for a rule that has no readable one."""
    userdata = bytes(_decoded(RuleMessage, data).get_attr("NFTA_RULE_USERDATA") or b"")
    if len(userdata) < 2 or userdata[0] != COMMENT:
        return ""
    return userdata[2 : 2 + userdata[1]].rstrip(b"\0").decode(errors="replace")


def _decoded(message: Any, data: bytes) -> Any:
    decoded = message(data)
    decoded.decode()
    return decoded


def value(data: bytes) -> dict[str, Any]:
    """Constant data in an expression or a set element."""
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def padded_name(name: str) -> bytes:
    return name.encode().ljust(IFNAME_SIZE, b"\0")


def fingerprint(expressions: Sequence[Expression]) -> str:
    """Eight hex digits that change whenever the encoded meaning of a rule does."""
    return f"{binascii.crc32(new_rule('', expressions, '').data):08x}"


def _request(
    message: Any, kind: int, flags: int, what: str, attributes: Iterable[tuple[str, Any]]
) -> Request:
    encoded = message()
    encoded["attrs"] = list(attributes)
    encoded["nfgen_family"] = FAMILY_INET
    encoded["header"]["type"] = SUBSYSTEM << 8 | kind
    encoded["header"]["flags"] = NLM_F_REQUEST | flags
    encoded.encode()
    return Request(what, bytes(encoded.data))
