# SPDX-License-Identifier: GPL-2.0-or-later
"""The procd script, run by a shell with stand-ins for rc.common that write down what is asked."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.packaging.ending import longest_end

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "init.d" / "flowguard.service"
SHELLS = [s for s in (["dash"], ["busybox", "ash"]) if shutil.which(s[0])] or [["sh"]]
SCRIPT = ROOT / "init.d" / "flowguard"

# What OpenWrt's rc.common and procd.sh provide; `say` records a call.
STAND_INS = r"""
say() { echo "$*"; }
extra_command() { say extra_command "$1"; }
uci() { [ "$VALID" = 1 ] || { echo "uci: Parse error" >&2; return 1; }; }
logger() { say logger "$@"; }
config_load() { :; }
config_get() { case $3 in TYPE) eval "$1=$TYPE" ;; *) eval "$1=$ENABLED" ;; esac; }
procd_running() { [ "$RUNNING" = 1 ]; }
for call in procd_open_instance procd_set_param procd_close_instance procd_add_reload_trigger \
    procd_add_config_trigger procd_add_raw_trigger procd_add_validation procd_add_jail \
    procd_send_signal uci_load_validate; do
    eval "$call() { say $call \"\$@\"; }"
done
start() { say start; start_service; }
stop() { say stop; }
"""


def run(
    call: str,
    *,
    valid: bool = True,
    enabled: bool | str = True,
    section: str = "flowguard",
    running: bool = False,
    program: int = 0,
    runtime: str = "/nonexistent",
    capabilities: str = "/nonexistent",
    action: str = "",
    upgrade: bool = False,
) -> tuple[int, list[str]]:
    """Source the script, make a call; its exit status and what was asked of the system.

    In every shell there is; they must agree.
    """
    setting = f"VALID={valid:d} RUNNING={running:d} TYPE={section} action={action} "
    setting += "PKG_UPGRADE=1 " if upgrade else ""
    setting += f"ENABLED={enabled if isinstance(enabled, str) else int(enabled)}"
    stand_in = f'flowguard() {{ say flowguard "$@"; return {program}; }}; PROG=flowguard'
    stand_in += f"\nRUNTIME={runtime}\nCAPABILITIES={capabilities}"
    results = []
    for shell in SHELLS:
        done = subprocess.run(
            [*shell, "-c", f"{setting}\n{STAND_INS}\n. {SCRIPT}\n{stand_in}\n{call}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        results.append((done.returncode, done.stdout.splitlines()))
    assert all(result == results[0] for result in results)
    status, lines = results[0]
    assert [line.split()[1] for line in lines[:4]] == ["check", "rescan", "adopt", "release"]
    return status, lines[4:]


def test_start_opens_one_instance_that_is_always_started_again() -> None:
    status, asked = run("start_service")
    assert status == 0
    assert asked[0] == "procd_open_instance main"
    assert asked[-1] == "procd_close_instance"
    assert "procd_set_param command flowguard run" in asked
    assert "procd_set_param respawn 3600 5 0" in asked
    assert "procd_set_param stderr 1" in asked
    assert "procd_set_param env FLOWGUARD_VERSION=@VERSION@... FLOWGUARD_WATCHDOG=120" in asked
    assert "procd_set_param file /etc/config/flowguard" in asked


def test_procd_waits_for_signs_of_life_and_is_free_to_end_a_daemon_that_gives_none() -> None:
    asked = run("start_service")[1]
    assert "procd_set_param watchdog 1 120" in asked
    # With it, procd's instance_restart() would send that signal to a hung daemon, and no more.
    assert not any("reload_signal" in line for line in asked)


def test_with_a_file_of_capabilities_it_has_no_others(tmp_path: Path) -> None:
    assert not any("jail" in line for line in run("start_service")[1])
    file = tmp_path / "flowguard.json"
    file.touch()
    asked = run("start_service", capabilities=str(file))[1]
    assert asked[-4:] == [
        "procd_add_jail flowguard",
        f"procd_set_param capabilities {file}",
        "procd_set_param no_new_privs 1",
        "procd_close_instance",
    ]


def test_nothing_starts_while_disabled() -> None:
    status, asked = run("start_service", enabled=False)
    assert (status, asked) == (1, [])


@pytest.mark.parametrize("enabled", ["on", "yes", "off", "no"])
def test_switches_may_be_words(enabled: str) -> None:
    status, asked = run("start_service", enabled=enabled)
    assert (status == 0, bool(asked)) == (enabled in ("on", "yes"),) * 2


@pytest.mark.parametrize(("section", "enabled"), [("settings", "1"), ("flowguard", "banana")])
def test_what_the_daemon_would_not_take_for_yes_is_named_in_the_log(
    section: str, enabled: str
) -> None:
    status, (line,) = run("start_service", section=section, enabled=enabled)
    assert (status, line.split()[:5]) == (1, ["logger", "-t", "flowguard", "-p", "daemon.err"])
    assert "config flowguard 'globals' with option enabled '0' or '1'" in line
    assert run("reload_service", section=section, enabled=enabled, running=True)[1] == [
        "start",
        line,
    ]


RELEASE = [
    "procd_open_instance release",
    "procd_set_param command flowguard stop --release",
    "procd_set_param term_timeout 170",
    "procd_set_param stderr 1",
    "procd_close_instance",
]


@pytest.mark.parametrize(("enabled", "valid"), [(False, True), (True, False)])
def test_what_ran_before_it_could_not_start_is_released_and_nobody_waits_for_that(
    tmp_path: Path, enabled: bool, valid: bool
) -> None:
    status, asked = run("start_service", runtime=str(tmp_path), enabled=enabled, valid=valid)
    # procd runs it, once, and ends it when the next start has no such instance.
    assert (status, asked[-5:]) == (1, RELEASE)
    assert not any("respawn" in line or line.startswith("flowguard") for line in asked)


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


def test_reload_releases_what_was_switched_off_and_stays_within_call(tmp_path: Path) -> None:
    asked = run("reload_service", running=True, enabled=False, runtime=str(tmp_path))[1]
    # Not `stop`: with the service procd would forget its triggers.
    assert asked == ["start", *RELEASE]


@pytest.mark.parametrize(
    ("action", "upgrade", "asked"),
    [
        # SIGTERM does it, for which procd waits.
        ("stop", False, []),
        ("release", False, []),
        ("restart", False, ["flowguard stop --keep"]),
        # So default_prerm of OpenWrt's functions.sh stops the old package's daemon.
        ("stop", True, ["flowguard stop --keep"]),
        ("shutdown", False, ["flowguard stop --reboot"]),
    ],
)
def test_what_becomes_of_hardware_depends_on_why_it_stops(
    action: str, upgrade: bool, asked: list[str]
) -> None:
    assert run("stop_service", action=action, upgrade=upgrade, running=True)[1] == asked
    assert run("stop_service", action=action, upgrade=upgrade)[1] == []


def test_a_daemon_that_has_died_leaves_no_hardware_behind_a_stop(tmp_path: Path) -> None:
    assert run("stop_service", action="stop", runtime=str(tmp_path))[1] == ["flowguard stop"]
    # What is started again at once goes on where it was.
    assert run("stop_service", action="restart", runtime=str(tmp_path))[1] == []


def test_procd_waits_for_a_drain_before_it_kills() -> None:
    timeouts = [line for line in run("start_service")[1] if "term_timeout" in line]
    (seconds,) = (int(line.split()[-1]) for line in timeouts)
    assert seconds > longest_end()


def test_reload_leaves_an_invalid_file_to_the_running_daemon() -> None:
    asked = run("reload_service", running=True, valid=False)[1]
    assert asked[-1] == "procd_send_signal flowguard main HUP"


def test_release_tells_a_failure_but_always_stops() -> None:
    asked = ["flowguard stop --release", "stop", "flowguard release"]
    assert run("release", program=1) == (1, asked)
    assert run("release") == (0, asked)


def test_status_and_check_ask_the_program() -> None:
    assert run("status_service", program=3) == (3, ["flowguard status"])
    assert run("check", program=1) == (1, ["flowguard check"])


def test_adoption_goes_on_when_nobody_waits_and_is_told_in_the_log(tmp_path: Path) -> None:
    go, log = tmp_path / "go", tmp_path / "log"
    subprocess.run(["mkfifo", go], check=True)
    # The program comes to its end only after the script has.
    slow = f"flowguard() {{ timeout 10 cat {go}; echo flowguard $*; echo trouble >&2; }}"
    logged = f"logger() {{ cat >{log}; }}"
    finish = f"timeout 10 tee {go} </dev/null; wait"
    assert run(f"{slow}; {logged}; adopt; echo returned; {finish}") == (0, ["returned"])
    assert log.read_text().split() == ["flowguard", "adopt", "trouble"]


def test_a_change_of_the_configuration_triggers_a_reload() -> None:
    assert "procd_add_reload_trigger flowguard" in run("service_triggers")[1]


def test_changes_of_interfaces_and_firewall_only_make_it_look_again() -> None:
    asked = [line for line in run("service_triggers")[1] if "rescan" in line]
    assert len(asked) == 3
    assert all(line.endswith("/etc/init.d/flowguard rescan") for line in asked)
    assert run("rescan", running=True)[1] == ["procd_send_signal flowguard main USR1"]
    assert run("rescan") == (0, [])


def test_procd_is_told_what_may_be_set() -> None:
    (line,) = run("validate_globals")[1]
    assert line.startswith("uci_load_validate flowguard flowguard globals  enabled:bool:0 ")
    assert "control_share:or(0, range(2, 1024)):16" in line


def test_it_is_executable_and_starts_after_network_and_firewall() -> None:
    assert SCRIPT.stat().st_mode & stat.S_IXUSR
    start = re.search(r"^START=(\d\d)$", SCRIPT.read_text(), re.MULTILINE)
    assert start and int(start[1]) > 20
