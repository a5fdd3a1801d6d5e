# SPDX-License-Identifier: GPL-2.0-or-later
"""Three producers of the same metrics: `flowguard metrics` and a collector for each exporter."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from flowguard.cli.metrics import describe
from packages.description import FEED_FILES
from tests.luci.rpcd import Rpcd
from tests.luci.scenes import SCENES
from tests.service.composed import Home, at_home

HERE = Path(__file__).parent
COLLECTORS = FEED_FILES / "metrics"
LUA = shutil.which("lua5.1")
UCODE = os.environ.get("FLOWGUARD_UCODE") or shutil.which("ucode")
STRANGE = 'a "quoted" \\ name'

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
Status = dict[str, Any]


def python(status: Status) -> str:
    return "\n".join(describe(status))


def lua(status: Status | None) -> str:
    start = f"STATUS = {in_lua(status)}"
    return output([LUA or "", "-e", start, HERE / "exporter.lua", COLLECTORS / "flowguard.lua"])


def ucode(status: Status) -> str:
    script, collector = HERE / "exporter.uc", COLLECTORS / "flowguard.uc"
    return output([UCODE or "", "-R", script, collector, json.dumps(status)])


PRODUCERS = [
    python,
    pytest.param(lua, marks=pytest.mark.skipif(not LUA, reason="Lua 5.1 is not installed")),
    pytest.param(ucode, marks=pytest.mark.skipif(not UCODE, reason="ucode is not installed")),
]
each = pytest.mark.parametrize("produce", PRODUCERS)


def output(command: Iterable[str | Path]) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_lua(value: Any) -> str:
    """As ubus hands it to Lua: what is null is not there."""
    match value:
        case dict():
            return "{" + ",".join(f"[{in_lua(k)}]={in_lua(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "{" + ",".join(map(in_lua, value)) + "}"
        case None:
            return "nil"
    return json.dumps(value, ensure_ascii=False)


def samples(text: str) -> Samples:
    """Every sample by its name and labels. Of no name a type is missing or given twice."""
    found: Samples = {}
    types = re.findall(r"^# TYPE (\w+) gauge$", text, re.MULTILINE)
    assert len(set(types)) == len(types)
    for line in text.strip().split("\n"):
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        assert match and match[1] in types, line
        labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")
        assert ",".join(f'{name}="{text}"' for name, text in labels) == (match[2] or "")
        key = match[1], frozenset(labels)
        assert key not in found
        found[key] = float(match[3])
    return found


def status_in(scene: str) -> Status:
    found: list[Status] = []

    async def use(home: Home) -> None:
        await SCENES[scene](home, Rpcd(None))
        found.append(json.loads(json.dumps(home.status())))

    at_home(use)
    return found[0]


@pytest.mark.parametrize("scene", ["steady", "draining", "held-off", "canary", "module-missing"])
@each
def test_every_producer_says_the_same(produce: Callable[[Status], str], scene: str) -> None:
    status = status_in(scene)
    status["control"] |= {"e_value": 1234.5, "treated": {"n": 100, "failed": 3}}
    status["boot"]["unplanned"] = True
    told, expected = samples(produce(status)), samples(python(status))
    assert told.keys() == expected.keys()
    for key, value in expected.items():
        assert told[key] == pytest.approx(value), key


@each
def test_what_the_kernel_and_drivers_are_called_is_no_matter(
    produce: Callable[[Status], str],
) -> None:
    status = status_in("steady")
    status["devices"][0] |= {"driver": STRANGE, "held_off_until": None}
    status["devices"][1]["driver"] = None
    status["boot"]["kernel"] = None
    # Nobody has counted yet.
    status["flows"] = dict.fromkeys(status["flows"])
    told = samples(produce(status))
    escaped = STRANGE.replace("\\", "\\\\").replace('"', '\\"')
    labels = frozenset({("device", status["devices"][0]["name"]), ("driver", escaped)})
    assert told["flowguard_device_level", labels] == 2
    assert told["flowguard_device_held_off_seconds", labels] == 0
    assert not [name for name, _ in told if name == "flowguard_flows"]


def test_what_is_said_while_a_device_is_held_off() -> None:
    told = samples(python(status_in("held-off")))
    wan = frozenset({("device", "wan"), ("driver", "labdriver")})
    assert told["flowguard_level", frozenset()] == told["flowguard_wanted_level", frozenset()] == 2
    assert told["flowguard_device_level", wan] == told["flowguard_device_allowed_level", wan] == 1
    assert told["flowguard_device_strikes", wan] == 1
    assert 590 < told["flowguard_device_held_off_seconds", wan] <= 600
    states = {dict(key[1])["state"]: v for key, v in told.items() if key[0] == "flowguard_state"}
    assert [state for state, on in states.items() if on] == ["held_off"]
    assert told["flowguard_sensor_up", frozenset({("sensor", "kmsg")})] == 1
    assert told["flowguard_sensor_up", frozenset({("sensor", "engine")})] == 0


@pytest.mark.skipif(not UCODE, reason="ucode is not installed")
def test_the_help_is_the_same_words() -> None:
    status = status_in("steady")
    assert comments(ucode(status)) == comments(python(status))


def comments(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("#")}


@pytest.mark.skipif(not LUA, reason="Lua 5.1 is not installed")
def test_a_daemon_that_does_not_answer_is_a_failure_and_no_empty_page() -> None:
    with pytest.raises(AssertionError, match="flowguard does not answer"):
        lua(None)
