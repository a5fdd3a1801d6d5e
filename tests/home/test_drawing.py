# SPDX-License-Identifier: GPL-2.0-or-later
"""The arm that the kernel draws is the one that the daemon computes."""

from __future__ import annotations

import pytest

from tests.home.topology import SIZE, Home
from tests.lab.capture import drawing_rule

MASQUERADE = """
table ip home {
    chain out {
        type nat hook postrouting priority srcnat
        oifname { wan, wanb } masquerade
    }
}
"""
# Behind our rules: only who was not left by them comes here.
TREATED = "add rule inet flowguard_sw forward ct mark set 0x1"


@pytest.mark.parametrize("share", [2, 16])
@pytest.mark.parametrize("seed", [1, 0xFEDCBA98])
def test_the_kernel_and_the_daemon_draw_alike(home: Home, share: int, seed: int) -> None:
    home.reset(MASQUERADE)
    home.draw(share, seed)
    home.router.run("nft", TREATED)
    assert set(home.download(range(20_000, 20_064))) == {SIZE}
    rule = drawing_rule("flowguard_sw", home.router)
    assert rule.seed == seed
    found = home.connections()
    assert len(found) == 64
    assert {c.original for c in found if c.mark == 0} == {
        c.original for c in found if rule.is_control(c)
    }
    assert 0 < sum(c.mark == 0 for c in found) < 48
