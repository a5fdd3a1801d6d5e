# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of OpenWrt that want the same packets, or lose them to offloading."""

from __future__ import annotations

from flowguard.checks.finding import Grade
from flowguard.core.records import frozen


@frozen
class Setting:
    """An option in the sections of one type, of a program's own configuration."""

    section: str
    option: str
    default: str = ""


@frozen
class Neighbour:
    """Active when its init script is enabled and one of its `switches` is on, if it has any.

    What keeps its flows right is a `config exclude` section: with the lines `matches`, with the
    devices that its own configuration names in `devices`, or with the marks of its interfaces
    within `mark_mask`, whose default this is.
    """

    program: str
    grade: Grade
    sentence: str
    remedy: str
    switches: tuple[Setting, ...] = ()
    matches: tuple[str, ...] = ()
    devices: Setting | None = None
    mark_mask: Setting | None = None


_SHAPES = "offloaded flows pass its queues by, so they are neither shaped nor given their turn"
_EXCLUDE = "keep its devices' flows off with a config exclude section, or switch it off"
_STAYS = "an offloaded flow stays on the WAN it began with, and packets meet no policy"
_MARKS = "keep its flows off with a config exclude section of its interfaces' marks"
_CLASSES = "it gives packets their class, and offloaded ones keep the one they came with"
_PORTAL = "its limits count packets that nftables sees, and it sees no offloaded ones"
_INSPECTS = "it changes the first packets of a connection, and misses those that are offloaded"
_WEB = ("list dest_port '80'", "list dest_port '443'")
_EXCLUDE_WEB = "keep the connections that it changes off with a config exclude section"

NEIGHBOURS = (
    Neighbour(
        "sqm",
        Grade.WARNING,
        _SHAPES,
        _EXCLUDE,
        (Setting("queue", "enabled"),),
        devices=Setting("queue", "interface"),
    ),
    Neighbour("qosify", Grade.WARNING, _SHAPES, _EXCLUDE, devices=Setting("device", "name")),
    Neighbour(
        "nft-qos",
        Grade.WARNING,
        "its limits and priorities do not see offloaded flows",
        "keep the limited hosts' flows off with config exclude sections, or switch it off",
        (
            Setting("default", "limit_enable"),
            Setting("default", "limit_mac_enable"),
            Setting("default", "priority_enable"),
        ),
    ),
    Neighbour(
        "qosmate",
        Grade.WARNING,
        # It asks UCI (qosmate#86), where `flowguard adopt` has switched the option off.
        "it takes the firewall's flow_offloading, which is off, for a sign that nothing is "
        "offloaded, so priorities of offloaded flows are lost",
        _EXCLUDE,
        (Setting("global", "enabled"),),
        devices=Setting("settings", "WAN", "eth1"),
    ),
    Neighbour(
        "dscpclassify",
        Grade.WARNING,
        _CLASSES,
        "keep the flows of the way out off with a config exclude section; its device may have "
        "another name than wan",
        matches=("list device 'wan'",),
    ),
    Neighbour(
        "opennds",
        Grade.WARNING,
        _PORTAL,
        _EXCLUDE,
        (Setting("opennds", "enabled"),),
        devices=Setting("opennds", "gatewayinterface", "br-lan"),
    ),
    Neighbour(
        "nodogsplash",
        Grade.WARNING,
        _PORTAL,
        _EXCLUDE,
        (Setting("nodogsplash", "enabled"),),
        devices=Setting("nodogsplash", "gatewayinterface", "br-lan"),
    ),
    Neighbour("zapret", Grade.WARNING, _INSPECTS, _EXCLUDE_WEB, matches=_WEB),
    Neighbour("zapret2", Grade.WARNING, _INSPECTS, _EXCLUDE_WEB, matches=_WEB),
    Neighbour("youtubeUnblock", Grade.WARNING, _INSPECTS, _EXCLUDE_WEB, matches=_WEB),
    Neighbour(
        "mwan3",
        Grade.WARNING,
        _STAYS,
        _MARKS,
        (Setting("interface", "enabled"),),
        mark_mask=Setting("globals", "mmx_mask", "0x3f00"),
    ),
    Neighbour(
        "mwan4",
        Grade.WARNING,
        _STAYS,
        _MARKS,
        (Setting("interface", "enabled"),),
        mark_mask=Setting("globals", "mmx_mask", "0xff00"),
    ),
    Neighbour(
        "pbr",
        Grade.WARNING,
        "an offloaded flow stays on the route it began with, and packets meet no policy",
        # It marks packets only (pbr 1.2); an exclude section looks at the connection's mark.
        "keep its flows off with a config exclude section of the devices it routes to, or with "
        "sections that match what its policies match; its mark (0xff0000) is not conntrack's",
        (Setting("pbr", "enabled"),),
    ),
    Neighbour(
        "bridger",
        Grade.ERROR,
        "it fills the same packet engine behind flowguard's back, and has hung one",
        "/etc/init.d/bridger disable; /etc/init.d/bridger stop",
    ),
    Neighbour(
        "turboacc",
        Grade.ERROR,
        "it sets the firewall's own flow offloading anew at every boot",
        "/etc/init.d/turboacc disable; /etc/init.d/turboacc stop",
    ),
)
