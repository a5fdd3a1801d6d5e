# SPDX-License-Identifier: GPL-2.0-or-later
"""The attributes of nf_tables' objects that we name, as message classes of pyroute2.

pyroute2 has such classes itself, with every attribute and expression there is: they would
take 0.6 MB of a router's memory. An attribute that has no name here is passed over.
Source: include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any

from flowguard.kernel.nftables.narrow_pyroute2 import pyroute2_modules

_netlink, _nfnetlink = pyroute2_modules("netlink", "netlink.nfnetlink")
Message: Any = _nfnetlink.nfgen_msg
Nest: Any = _netlink.nla


class Kind(IntEnum):
    """NFT_MSG_*."""

    NEW_TABLE = 0
    GET_TABLE = 1
    DELETE_TABLE = 2
    NEW_CHAIN = 3
    GET_CHAIN = 4
    NEW_RULE = 6
    GET_RULE = 7
    DELETE_RULE = 8
    NEW_SET = 9
    GET_SET = 10
    NEW_ELEMENTS = 12
    GET_ELEMENTS = 13
    DELETE_ELEMENTS = 14
    NEW_FLOWTABLE = 22
    GET_FLOWTABLE = 23
    DELETE_FLOWTABLE = 24


class FlowtableFlag(IntFlag):
    """NFT_FLOWTABLE_*."""

    HARDWARE = 1
    COUNTER = 2


class TableMessage(Message):  # type: ignore[misc]
    nla_map = ((1, "NFTA_TABLE_NAME", "asciiz"),)


class ChainMessage(Message):  # type: ignore[misc]
    nla_map = (
        (1, "NFTA_CHAIN_TABLE", "asciiz"),
        (3, "NFTA_CHAIN_NAME", "asciiz"),
        (4, "NFTA_CHAIN_HOOK", "hook"),
        (5, "NFTA_CHAIN_POLICY", "be32"),
        (7, "NFTA_CHAIN_TYPE", "asciiz"),
    )

    class hook(Nest):  # type: ignore[misc]  # noqa: N801 - found by this name
        nla_map = ((1, "NFTA_HOOK_HOOKNUM", "be32"), (2, "NFTA_HOOK_PRIORITY", "sbe32"))


class SetMessage(Message):  # type: ignore[misc]
    nla_map = (
        (1, "NFTA_SET_TABLE", "asciiz"),
        (2, "NFTA_SET_NAME", "asciiz"),
        (4, "NFTA_SET_KEY_TYPE", "be32"),
        (5, "NFTA_SET_KEY_LEN", "be32"),
        (10, "NFTA_SET_ID", "be32"),
        (13, "NFTA_SET_USERDATA", "binary"),
    )


class ElementsMessage(Message):  # type: ignore[misc]
    """The elements are added and read by hand: there may be hundreds."""

    nla_map = ((1, "NFTA_SET_ELEM_LIST_TABLE", "asciiz"), (2, "NFTA_SET_ELEM_LIST_SET", "asciiz"))


class FlowtableMessage(Message):  # type: ignore[misc]
    nla_map = (
        (1, "NFTA_FLOWTABLE_TABLE", "asciiz"),
        (2, "NFTA_FLOWTABLE_NAME", "asciiz"),
        (3, "NFTA_FLOWTABLE_HOOK", "hook"),
        (7, "NFTA_FLOWTABLE_FLAGS", "be32"),
    )

    class hook(Nest):  # type: ignore[misc]  # noqa: N801
        nla_map = (
            (1, "NFTA_FLOWTABLE_HOOK_NUM", "be32"),
            (2, "NFTA_FLOWTABLE_HOOK_PRIORITY", "sbe32"),
            (3, "NFTA_FLOWTABLE_HOOK_DEVS", "devices"),
        )

        class devices(Nest):  # type: ignore[misc]  # noqa: N801
            nla_map = ((1, "NFTA_DEVICE_NAME", "asciiz"),)


class RuleMessage(Message):  # type: ignore[misc]
    """Expressions and comment are added and read by hand, see `expressions`."""

    nla_map = ((1, "NFTA_RULE_TABLE", "asciiz"), (2, "NFTA_RULE_CHAIN", "asciiz"))
