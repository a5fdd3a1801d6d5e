# SPDX-License-Identifier: GPL-2.0-or-later
"""The procd script, run by a shell with stand-ins for rc.common that write down what is asked."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from flowguard.host.configuration import SETTINGS, Configuration

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "init.d" / "flowguard"

# What OpenWrt's rc.common and procd.sh provide; `say` records a call.
STAND_INS = r"""
say() { echo "$*"; }
extra_command() { say extra_command "$1"; }
uci() { [ "$VALID" = 1 ] || { echo "uci: Parse error" >&2; return 1; }; }
logger() { say logger "$@"; }
config_load() { :; }
config_get_bool() { eval "$1=$ENABLED"; }
procd_running() { [ "$RUNNING" = 1 ]; }
for call in procd_open_instance procd_set_param procd_close_instance procd_add_reload_trigger \
    procd_add_validation procd_send_signal uci_load_validate; do
    eval "$call() { say $call \"\$@\"; }"
done
start() { say start; start_service; }
stop() { say stop; }
"""


def run(
    call: str, *, valid: bool = True, enabled: bool = True, running: bool = False, program: int = 0
) -> tuple[int, list[str]]:
    """Source the script, make a call; its exit status and what was asked of the system."""
    setting = f"VALID={valid:d} ENABLED={enabled:d} RUNNING={running:d}"
    stand_in = f'flowguard() {{ say flowguard "$@"; return {program}; }}; PROG=flowguard'
    done = subprocess.run(
        ["sh", "-c", f"{setting}\n{STAND_INS}\n. {SCRIPT}\n{stand_in}\n{call}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:2] == ["extra_command check", "extra_command release"]
    return done.returncode, lines[2:]


def test_start_opens_one_instance_that_is_always_started_again() -> None:
    status, asked = run("start_service")
    assert status == 0
    assert asked[0] == "procd_open_instance main"
    assert asked[-1] == "procd_close_instance"
    assert "procd_set_param command flowguard run" in asked
    assert "procd_set_param respawn 3600 5 0" in asked
    assert "procd_set_param stderr 1" in asked
    assert "procd_set_param env FLOWGUARD_VERSION=@VERSION@" in asked
    assert "procd_set_param file /etc/config/flowguard" in asked


def test_nothing_starts_while_disabled() -> None:
    status, asked = run("start_service", enabled=False)
    assert (status, asked) == (1, [])


def test_nothing_starts_with_an_invalid_file_and_the_log_says_why() -> None:
    status, asked = run("start_service", valid=False)
    assert status == 1
    (line,) = asked
    assert "daemon.err" in line
    assert "/etc/config/flowguard is not valid: uci: Parse error" in line


def test_reload_only_signals_a_running_daemon() -> None:
    assert run("reload_service", running=True)[1] == ["procd_send_signal flowguard main HUP"]


def test_reload_starts_what_was_switched_on() -> None:
    assert run("reload_service")[1][:2] == ["start", "procd_open_instance main"]


def test_reload_releases_what_was_switched_off() -> None:
    asked = run("reload_service", running=True, enabled=False)[1]
    assert asked == ["flowguard stop --release", "stop"]


def test_reload_leaves_an_invalid_file_to_the_running_daemon() -> None:
    asked = run("reload_service", running=True, valid=False)[1]
    assert asked[-1] == "procd_send_signal flowguard main HUP"


def test_release_tells_a_failure_but_always_stops() -> None:
    assert run("release", program=1) == (1, ["flowguard stop --release", "stop"])


def test_status_and_check_ask_the_program() -> None:
    assert run("status_service", program=3) == (3, ["flowguard status"])
    assert run("check", program=1) == (1, ["flowguard check"])


def test_a_change_of_the_configuration_triggers_a_reload() -> None:
    assert "procd_add_reload_trigger flowguard" in run("service_triggers")[1]


def test_validation_knows_every_option() -> None:
    names = re.findall(
        r"(?:^|\s)'?(\w+):(?:bool|or|list|string|range)", run("validate_globals")[1][0]
    )
    assert names == [setting.name for setting in SETTINGS]


@pytest.mark.parametrize("name", ["udp", "control_share", "flow_timeout", "weak_count", "level"])
def test_validation_says_the_true_default(name: str) -> None:
    line = run("validate_globals")[1][0]
    (default,) = re.findall(rf"\b{name}:\S*?(?:\([^:]*\))?:(\w+)", line)
    value = getattr(Configuration(), name)
    assert default == str(int(value) if isinstance(value, bool) else value)


def test_it_is_executable_and_starts_after_network_and_firewall() -> None:
    assert SCRIPT.stat().st_mode & stat.S_IXUSR
    start = re.search(r"^START=(\d\d)$", SCRIPT.read_text(), re.MULTILINE)
    assert start and int(start[1]) > 20


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    # SC2034: rc.common reads the variables.
    subprocess.run(["shellcheck", "--shell=dash", "--exclude=SC2034", SCRIPT], check=True)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_unit_is_valid(tmp_path: Path) -> None:
    unit = tmp_path / "flowguard.service"
    text = (ROOT / "init.d" / "flowguard.service").read_text()
    unit.write_text(text.replace("/usr/bin/flowguard", shutil.which("true") or ""))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert "flowguard.service" not in done.stderr
