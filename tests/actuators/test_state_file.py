# SPDX-License-Identifier: GPL-2.0-or-later
"""What survives a restart, a reboot, a power cut and a broken file."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard import __version__
from flowguard.actuators.state_file import FORMAT, KEPT_ASIDE, Memory, StateStore
from flowguard.core.model import Boots, Device, Intent, Level, ShutEye, Verdict
from flowguard.core.records import replace
from flowguard.core.serial import to_json
from flowguard.kernel.files import LinuxFiles, replace_file
from tests.crashing import Disk, PowerCut, stored

RELEASES = Path(__file__).parent / "states"
VERDICT = Verdict("wan", Level.SOFTWARE, 2, 100.0, 1200.0, 1300.0, "why", "rule", "line")
INTENT = Intent("this boot", 3, Level.HARDWARE, (Device("wan", 2),), "6.12", "1")
OLD = Memory(FORMAT, "this boot", Level.HARDWARE, Level.SOFTWARE, (VERDICT,), 150.0)
NEW = replace(OLD, verdicts=(), intent=INTENT, boots=Boots(count=3, unknown=(2,)), time=160.0)


def store(directory: Path, boot: str = "this boot") -> StateStore:
    return StateStore(LinuxFiles(), str(directory), boot)


def save(directory: Path, memory: Memory) -> None:
    asyncio.run(store(directory).save(memory))


def test_nothing_stored_is_no_problem(tmp_path: Path) -> None:
    found = store(tmp_path).load(10, 30)
    assert (found.memory, found.problem, found.lost) == (None, "", False)


@pytest.mark.parametrize("memory", [OLD, NEW])
def test_a_restart_in_the_same_boot_finds_everything_as_it_was(
    tmp_path: Path, memory: Memory
) -> None:
    save(tmp_path / "new", memory)
    found = store(tmp_path / "new").load(200, 30)
    assert found.memory == memory and not found.problem


def reborn(directory: Path, memory: Memory, now: float = 5) -> Memory:
    save(directory, memory)
    found = store(directory, "next boot").load(now, 30).memory
    assert found
    return found


def test_after_a_reboot_a_hold_off_has_as_much_left_as_when_it_was_saved(tmp_path: Path) -> None:
    (verdict,) = reborn(tmp_path, OLD).verdicts
    assert verdict.held_until == 5 + 1300 - 150
    assert 5 - verdict.stepped >= 30
    assert verdict.strikes == 2


def test_a_clock_that_jumped_does_not_lengthen_a_hold_off(tmp_path: Path) -> None:
    (verdict,) = reborn(tmp_path, replace(OLD, time=-1e9)).verdicts
    assert verdict.held_until == 5 + VERDICT.hold


def test_a_reboot_ends_what_people_asked_for_this_boot_only(tmp_path: Path) -> None:
    memory = reborn(tmp_path, replace(OLD, suspended=True, held_until=450))
    assert memory.wanted is Level.HARDWARE and not memory.suspended
    assert memory.held_until == 5 + 300
    assert not reborn(tmp_path, replace(OLD, held_until=100)).held_until


def test_healthy_time_stays_after_a_reboot_and_a_canary_stage_begins_anew(
    tmp_path: Path,
) -> None:
    up = replace(VERDICT, highest=Level.HARDWARE, raised=50.0, healthy=7)
    canary = replace(up, device="lan1", canary=4)
    first, second = reborn(tmp_path, replace(OLD, verdicts=(up, canary))).verdicts
    # It goes on when the device is back on hardware.
    assert (first.raised, second.raised) == (None, None)
    assert (first.healthy, second.healthy) == (7 + OLD.time - 50, 7)
    assert second.canary == 4


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 1}', '{"format": 9}', "\0" * 99, "[" * 100_000]
)
def test_an_unreadable_file_is_kept_aside_and_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    found = store(tmp_path).load(5, 30)
    assert found.memory is None and found.lost
    assert "state.json" in found.problem
    assert (tmp_path / "state.json.unreadable").read_text() == content


def test_another_unreadable_file_does_not_replace_the_first(tmp_path: Path) -> None:
    contents = [f"broken {number}" for number in range(KEPT_ASIDE)]
    for content in contents:
        (tmp_path / "state.json").write_text(content)
        store(tmp_path).load(5, 30)
    assert sorted(p.read_text() for p in tmp_path.iterdir()) == contents


def test_a_file_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    found = store(tmp_path).load(5, 30)
    assert found.memory is None and found.lost and "Is a directory" in found.problem


def test_saving_leaves_no_temporary_file(tmp_path: Path) -> None:
    save(tmp_path, OLD)
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


@given(st.binary(max_size=300), st.integers(0, 2000))
def test_no_content_of_the_file_raises(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    """Truncated and overwritten files, as flash leaves them."""
    directory = tmp_path_factory.mktemp("state")
    save(directory, NEW)
    file = directory / "state.json"
    content = file.read_bytes()
    file.write_bytes(content[:at] + noise)
    found = store(directory).load(5, 30)
    assert found.lost is (found.memory is None)


@pytest.mark.parametrize("path", sorted(RELEASES.iterdir()), ids=lambda path: path.stem)
def test_the_state_of_every_release_is_read(tmp_path: Path, path: Path) -> None:
    """Each leaves here what it writes; nothing of it may be lost in an upgrade."""
    text = path.read_text()
    (tmp_path / "state.json").write_text(text)
    found = store(tmp_path, json.loads(text)["boot_id"]).load(1e5, 30)
    assert found.memory and not found.problem
    assert contains(to_json(found.memory), json.loads(text))
    assert reborn(tmp_path, found.memory).verdicts


def contains(now: object, then: object) -> bool:
    """Whether a later version, which may know of more, still holds what an earlier one wrote."""
    if isinstance(now, dict) and isinstance(then, dict):
        return all(key in now and contains(now[key], value) for key, value in then.items())
    if isinstance(now, list) and isinstance(then, list):
        return len(now) == len(then) and all(map(contains, now, then))
    return now == then


def test_this_version_leaves_its_state_for_the_next() -> None:
    assert (RELEASES / f"{__version__}.json").exists()


def test_who_leaves_hardware_without_the_service_takes_the_intent_back(tmp_path: Path) -> None:
    save(tmp_path, NEW)
    asyncio.run(store(tmp_path).disarm())
    assert store(tmp_path).load(200, 30).memory == replace(NEW, intent=None)


def test_the_intent_of_another_boot_still_tells_how_that_one_ended(tmp_path: Path) -> None:
    save(tmp_path, NEW)
    asyncio.run(store(tmp_path, "next boot").disarm())
    assert store(tmp_path).load(200, 30).memory == NEW


def test_who_leaves_hardware_without_the_service_knows_whether_it_may_look(tmp_path: Path) -> None:
    assert not store(tmp_path).is_eye_shut("6.6.93")
    save(tmp_path, replace(OLD, shut_eye=ShutEye("6.6.93", "it crashed")))
    assert store(tmp_path).is_eye_shut("6.6.93")
    assert not store(tmp_path).is_eye_shut("6.6.94")
    save(tmp_path, replace(OLD, looking=True))
    assert store(tmp_path).is_eye_shut("6.6.94")


@pytest.mark.parametrize("content", [None, "", "{"])
def test_without_a_memory_there_is_no_intent(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "state.json").write_text(content)
    asyncio.run(store(tmp_path).disarm())
    found = [p.read_text() for p in tmp_path.iterdir()]
    assert found == ([] if content is None else [content])


# --- power cuts ---------------------------------------------------------------------------


class OnDisk(LinuxFiles):
    """Writes at once instead of beside the loop, so that a power cut ends the test's own thread."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk

    async def keep(self, path: str, text: str) -> None:
        replace_file(path, text, durable=True, system=self._disk)


def save_on(disk: Disk, directory: Path) -> None:
    asyncio.run(StateStore(OnDisk(disk), str(directory), "this boot").save(NEW))


def written(directory: Path) -> bytes:
    save(directory, OLD)
    return (directory / "state.json").read_bytes()


def loaded(directory: Path, contents: dict[str, bytes]) -> Memory | None:
    for path in directory.iterdir():
        path.unlink()
    for name, content in contents.items():
        Path(name).write_bytes(content)
    return store(directory).load(200, 30).memory


def survivors(directory: Path, old: bytes, *, fsyncs_work: bool = True) -> set[Memory | None]:
    """What is remembered after a power cut, over all points of a save and all outcomes."""
    path = str(directory / "state.json")
    whole = stored(path, old)
    save_on(whole, directory)
    found: set[Memory | None] = set()
    for point in range(whole.operations + 1):
        disk = stored(path, old)
        disk.fails_at, disk.fsyncs_work = point, fsyncs_work
        with suppress(PowerCut):
            save_on(disk, directory)
        for contents in disk.after_the_cut():
            found.add(loaded(directory, contents))
    return found


def test_a_power_cut_at_any_point_leaves_the_old_or_the_new_memory(tmp_path: Path) -> None:
    assert survivors(tmp_path, written(tmp_path)) == {OLD, NEW}


def test_the_enumeration_finds_what_a_disk_without_fsync_loses(tmp_path: Path) -> None:
    assert None in survivors(tmp_path, written(tmp_path), fsyncs_work=False)


def test_once_saved_the_new_memory_is_there_whatever_happens(tmp_path: Path) -> None:
    disk = stored(str(tmp_path / "state.json"), written(tmp_path))
    save_on(disk, tmp_path)
    assert {loaded(tmp_path, contents) for contents in disk.after_the_cut()} == {NEW}


class FullDisk(Disk):
    """Has room for the first write only."""

    def write(self, number: int, data: bytes) -> int:
        if self.operations > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(number, data)


def test_a_full_disk_is_an_error_and_the_old_memory_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    disk = FullDisk(stored(path, written(tmp_path)).names)
    with pytest.raises(OSError, match="No space left"):
        save_on(disk, tmp_path)
    assert list(disk.names) == [path]
    assert {loaded(tmp_path, contents) for contents in disk.after_the_cut()} == {OLD}
