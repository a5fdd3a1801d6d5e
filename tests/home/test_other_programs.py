# SPDX-License-Identifier: GPL-2.0-or-later
"""Set-ups that read marks go on working beside flowguard's rules, with its defaults.

Each sends the client's connections over the second line and depends on marks for that. What
the rules of a former release did to them is loaded as well, as a proof that a set-up notices.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.home.topology import CLIENT, SERVER, SIZE, Home

MASQUERADE = """
table ip homenat {
    chain out {
        type nat hook postrouting priority srcnat
        oifname { wan, wanb } masquerade
    }
}
"""


def restoring(restore: str, choose: str, extra: str = MASQUERADE) -> str:
    """Rules that give a packet its connection's mark, and a new connection one of its own."""
    return f"""
    table ip home {{
        chain in {{
            type filter hook prerouting priority mangle
            {restore}
            {choose}
        }}
    }}
    {extra}
    """


def by_mark(mark: int, mask: int) -> str:
    """mwan3 and mwan4: the bits of the mask, restored and compared."""
    new = f'iifname "lan" meta mark & {mask:#x} == 0'
    return restoring(
        f"meta mark set ct mark & {mask:#x}",
        f"{new} ct mark set ct mark | {mark:#x} meta mark set meta mark | {mark:#x}",
    )


def exact(mark: int, line: str) -> str:
    """A translation for connections with exactly this mark, and for no others."""
    return f"""
    table ip homenat {{
        chain out {{
            type nat hook postrouting priority srcnat
            oifname "wanb" ct mark {mark:#x} snat to {line}
        }}
    }}
    """


UNMASKED = "meta mark set ct mark"
CHOOSE = 'iifname "lan" ct mark 0 ct mark set {0} meta mark set {0}'
# dscpclassify: the class in the low byte of the mark, put into every packet on its way out.
CLASSIFIED = """
table ip home {
    chain classify {
        type filter hook forward priority mangle
        ct mark & 0xff == 0 ct mark set ct mark | 0x6e
    }
    chain out {
        type filter hook postrouting priority mangle
        oifname "wan" ct mark & 0xff == 0x6e ip dscp set ef
    }
    chain late {
        type filter hook postrouting priority srcnat + 10
        oifname "wan" ip dscp != ef drop
    }
}
"""
TAILSCALE = f"""
table ip home {{
    chain in {{
        type filter hook prerouting priority mangle
        iifname "lan" meta mark set meta mark & 0xff00ffff | 0x40000
    }}
    chain connection {{
        type filter hook postrouting priority mangle
        ct state new meta mark & 0xff0000 == 0x40000 ct mark set ct mark & 0xff00ffff | 0x40000
    }}
    chain out {{
        type nat hook postrouting priority srcnat
        ip saddr {CLIENT} meta mark & 0xff0000 == 0x40000 masquerade
    }}
}}
"""
PBR = restoring("", 'iifname "lan" meta mark set meta mark & 0xff00ffff | 0x20000')


@dataclass(frozen=True, slots=True)
class SetUp:
    """Rules and routing of a user; `line` is where the connections have to go."""

    name: str
    ruleset: str
    routing: tuple[str, ...]
    line: str = "wanb"
    noticed: bool = False
    """Whether bits of a former release's rules break it."""


def to_second_line(selector: str) -> tuple[str, ...]:
    return (f"rule add pref 1000 fwmark {selector} lookup 2",)


SET_UPS = (
    SetUp("mwan3 0x3f00", by_mark(0x200, 0x3F00), to_second_line("0x200/0x3f00")),
    SetUp("mwan3 0xff00", by_mark(0x200, 0xFF00), to_second_line("0x200/0xff00"), noticed=True),
    SetUp("mwan4", by_mark(0x300, 0xFF00), to_second_line("0x300/0xff00"), noticed=True),
    SetUp("pbr", PBR, to_second_line("0x20000/0xff0000")),
    SetUp("Tailscale", TAILSCALE, to_second_line("0x40000/0xff0000")),
    SetUp("DSCP in marks", CLASSIFIED + MASQUERADE, (), line="wan"),
    SetUp(
        "unmasked restore",
        restoring(UNMASKED, CHOOSE.format("0x200")),
        to_second_line("0x200"),
        noticed=True,
    ),
    SetUp(
        "exact match",
        restoring(
            "", 'iifname "lan" ct mark set 0x200 meta mark set 0x1', exact(0x200, "10.2.0.1")
        ),
        to_second_line("0x1"),
        noticed=True,
    ),
    SetUp(
        "VyOS load balancing",
        restoring(UNMASKED, CHOOSE.format("201"), exact(201, "10.2.0.1")),
        to_second_line("201"),
        noticed=True,
    ),
)
FORMER_RULES = """
table inet former {
    chain forward {
        type filter hook forward priority 11
        ct state new ct mark & 0x02008000 == 0 ct mark set ct mark | 0x8000
    }
}
"""
# So many that both arms are among them.
PORTS = range(30_000, 30_012)


def lines_used(home: Home) -> set[str]:
    """The lines that the server's answers went to, by the address that they were sent to."""
    addresses = {f"10.{number}.0.1": name for number, name in enumerate(home.lines, 1)}
    return {addresses.get(c.reply.destination, "nowhere") for c in home.connections()}


@pytest.mark.parametrize("set_up", SET_UPS, ids=lambda s: s.name)
def test_connections_of_both_arms_take_the_line_that_was_chosen(home: Home, set_up: SetUp) -> None:
    home.reset(set_up.ruleset, *set_up.routing)
    assert home.download(range(29_000, 29_001)) == [SIZE], f"{SERVER} without flowguard"
    marks = {c.mark for c in home.connections()}
    home.draw()
    assert home.download(PORTS) == [SIZE] * len(PORTS)
    assert lines_used(home) == {set_up.line}
    assert {c.mark for c in home.connections()} == marks


@pytest.mark.parametrize("set_up", [s for s in SET_UPS if s.noticed], ids=lambda s: s.name)
def test_a_bit_of_somebody_else_would_have_been_noticed(home: Home, set_up: SetUp) -> None:
    home.reset(set_up.ruleset + FORMER_RULES, *set_up.routing)
    assert home.download(range(30_000, 30_001)) != [SIZE]
