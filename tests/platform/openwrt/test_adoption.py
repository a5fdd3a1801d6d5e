# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking flow offloading over from the firewall, through programs that act as OpenWrt's do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from flowguard.cli import main
from flowguard.platform.openwrt import uci as parser

REAL_UCI = os.environ.get("UCI") or shutil.which("uci")
# Knows what is asked of it, and no more: one section, options as lines.
STAND_IN = r"""#!/bin/sh
[ "$1" = -q ] && shift
command=$1 name=${2##*.} file=CONF/firewall
case $command in
get) sed -n "s/^\toption $name '\(.*\)'$/\1/p" "$file" | grep . ;;
set)
    option=${name%%=*} value=${name#*=}
    cp "$file" SAVE/firewall
    sed -i "s/^\toption $option '.*'$/\toption $option '$value'/" SAVE/firewall
    cp SAVE/firewall "$file.staged"; mv "$file.staged" "$file" ;;
commit) rm -f SAVE/firewall ;;
show) grep -q "^config defaults" "$file" || { echo "uci: Parse error" >&2; exit 1; } ;;
changes) [ ! -e SAVE/firewall ] || echo changed ;;
esac
"""
FIREWALL = """config defaults
\toption input 'REJECT'
\toption flow_offloading '1'
\toption flow_offloading_hw 'on'

config zone
\toption name 'lan'
"""


class OpenWrt:
    def __init__(self, folder: Path, real: str | None) -> None:
        self.state = folder / "state"
        self.events = folder / "events"
        self.firewall = folder / "conf" / "firewall"
        self.save = folder / "save"
        for made in (self.firewall.parent, self.save, folder / "bin"):
            made.mkdir()
        self.firewall.write_text(FIREWALL)
        wrapper = f'#!/bin/sh\nexec {real} -c CONF -t SAVE "$@"\n'
        self._program(folder, "uci", wrapper if real else STAND_IN)
        self._folder = folder
        self._program(folder, "ubus", f'#!/bin/sh\necho "$*" >>{self.events}\n')

    def silence(self) -> None:
        """From now on nobody answers on ubus."""
        self._program(self._folder, "ubus", "#!/bin/sh\nexit 7\n")

    def _program(self, folder: Path, name: str, text: str) -> None:
        path = folder / "bin" / name
        text = text.replace("CONF", str(self.firewall.parent)).replace("SAVE", str(self.save))
        path.write_text(text)
        path.chmod(0o755)

    def adopt(self) -> int:
        return main(["adopt", "--state-dir", str(self.state)])

    def release(self) -> int:
        return main(["release", "--state-dir", str(self.state)])

    def set(self, option: str, value: str) -> None:
        """As another program, or its user, would."""
        lines = self.firewall.read_text().splitlines()
        changed = [f"\toption {option} '{value}'" if f" {option} " in x else x for x in lines]
        self.firewall.write_text("\n".join(changed) + "\n")

    def options(self) -> dict[str, str]:
        (defaults, _) = parser.load(str(self.firewall)).sections
        return {o.name: o.values[-1].text for o in defaults.options if o.name != "input"}

    def told(self) -> int:
        return len(self.events.read_text().splitlines()) if self.events.exists() else 0


@pytest.fixture(
    params=[
        "stand-in",
        pytest.param("uci", marks=pytest.mark.skipif(not REAL_UCI, reason="no uci on PATH")),
    ]
)
def openwrt(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> OpenWrt:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return OpenWrt(tmp_path, REAL_UCI if request.param == "uci" else None)


ON = {"flow_offloading": "1", "flow_offloading_hw": "on"}
OFF = {"flow_offloading": "0", "flow_offloading_hw": "0"}


def test_it_is_taken_over_once_and_given_back_once(openwrt: OpenWrt) -> None:
    assert openwrt.adopt() == 0
    assert (openwrt.options(), openwrt.told()) == (OFF, 1)
    assert openwrt.adopt() == 0
    assert (openwrt.options(), openwrt.told()) == (OFF, 1)
    assert openwrt.release() == 0
    assert (openwrt.options(), openwrt.told()) == (ON, 2)
    assert openwrt.release() == 0
    assert (openwrt.options(), openwrt.told()) == (ON, 2)
    assert "config.change" in openwrt.events.read_text()


def test_what_was_never_on_is_never_switched_on(openwrt: OpenWrt) -> None:
    openwrt.set("flow_offloading", "0")
    openwrt.set("flow_offloading_hw", "0")
    assert (openwrt.adopt(), openwrt.release()) == (0, 0)
    assert (openwrt.options(), openwrt.told()) == (OFF, 0)


def test_what_the_user_has_set_since_stays(openwrt: OpenWrt) -> None:
    openwrt.adopt()
    openwrt.set("flow_offloading_hw", "1")
    assert openwrt.release() == 0
    assert openwrt.options() == {"flow_offloading": "1", "flow_offloading_hw": "1"}


def test_switched_on_again_it_can_be_taken_over_again(openwrt: OpenWrt) -> None:
    openwrt.adopt()
    openwrt.set("flow_offloading", "1")
    assert openwrt.adopt() == 0
    assert openwrt.options() == OFF
    openwrt.release()
    assert openwrt.options() == ON


def test_staged_changes_of_the_user_are_not_committed(
    openwrt: OpenWrt, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["uci", "set", "firewall.@defaults[0].input=ACCEPT"], check=True)
    assert openwrt.adopt() == 1
    assert "not committed" in capsys.readouterr().err
    assert (openwrt.options(), openwrt.told()) == (ON, 0)
    assert not openwrt.state.exists()


@pytest.mark.parametrize("text", ["{", "3", "null"])
def test_a_damaged_memory_is_named(
    openwrt: OpenWrt, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    openwrt.state.mkdir()
    (openwrt.state / "adopted.json").write_text(text)
    assert openwrt.release() == 1
    assert "adopted.json is damaged: remove it" in capsys.readouterr().err


def test_a_firewall_that_could_not_be_told_is_named_with_the_remedy(
    openwrt: OpenWrt, capsys: pytest.CaptureFixture[str]
) -> None:
    openwrt.silence()
    for switch, left in ((openwrt.adopt, OFF), (openwrt.release, ON)):
        assert switch() == 1
        assert openwrt.options() == left
        assert "service firewall reload" in capsys.readouterr().err


def test_a_second_time_it_says_that_there_was_nothing_to_do(
    openwrt: OpenWrt, capsys: pytest.CaptureFixture[str]
) -> None:
    openwrt.adopt()
    assert "flow_offloading_hw is switched off" in capsys.readouterr().out
    openwrt.adopt()
    assert capsys.readouterr().out == "there was nothing to switch off\n"


def test_elsewhere_it_says_that_this_is_no_openwrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["adopt", "--state-dir", str(tmp_path / "state")]) == 1
    assert "is this OpenWrt?" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["config 'defaults\n", None], ids=["damaged", "missing"])
def test_a_firewall_that_cannot_be_read_is_not_one_that_does_not_offload(
    openwrt: OpenWrt, damage: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    openwrt.adopt()
    whole = openwrt.firewall.read_text()
    if damage:
        openwrt.firewall.write_text(damage)
    else:
        openwrt.firewall.unlink()
    assert (openwrt.adopt(), openwrt.release()) == (1, 1)
    assert "uci show firewall: " in capsys.readouterr().err
    openwrt.firewall.write_text(whole)
    assert openwrt.release() == 0
    assert openwrt.options() == ON
