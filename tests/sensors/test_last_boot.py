# SPDX-License-Identifier: GPL-2.0-or-later
"""How the last boot ended, told by what it left."""

from __future__ import annotations

import asyncio
import zlib
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowguard.cli.classify import classify
from flowguard.core.faults import LogRecord, logtext, verdict
from flowguard.core.model import Attribution
from flowguard.kernel import pstore
from flowguard.platform.systemd.journal import NoJournal, PreviousBoot
from flowguard.rules import load
from flowguard.sensors import last_boot
from flowguard.sensors.last_boot import TAIL_SECONDS, CrashEvidence
from tests.core.faults.reports import x86
from tests.sensors.machine import Traces

RULES = load()
CORPUS = Path(__file__).parents[3] / "shared" / "kmsg"
PANIC = "Kernel panic - not syncing: Fatal exception in interrupt"
OFFLOAD = x86("nf_flow_offload_tuple", "flow_offload_work_handler", "process_one_work")
UNRELATED = x86("ext4_readdir", "iterate_dir", "__x64_sys_getdents64")
SYSRQ = "Kernel panic - not syncing: sysrq triggered crash"


def log(text: str, start: float = 1000.0) -> str:
    """As dmesg, a line each millisecond."""
    lines = dedent(text).strip("\n").split("\n")
    return "".join(f"<4>[{start + n / 1000:12.6f}] {line}\n" for n, line in enumerate(lines))


def dump(text: str, header: str = "Panic#1 Part1") -> str:
    return f"{header}\n{text}\nNo errors detected\n"


class Remains(Traces):
    """Crash dumps in a folder, read as the kernel's are; without a journal unless there is one."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.journal: PreviousBoot | OSError = NoJournal("no systemd here")

    def dumps(self) -> tuple[pstore.Dumps, str]:
        found = pstore.read((str(self.folder),))
        return found, "; ".join(found.problems) or f"ok, {len(found.dumps)} crash dumps"

    def previous_boot(self) -> PreviousBoot:
        if isinstance(self.journal, OSError):
            raise self.journal
        return self.journal


@pytest.fixture
def remains(tmp_path: Path) -> Remains:
    """A system without any trace."""
    folder = tmp_path / "pstore"
    folder.mkdir()
    return Remains(folder)


def leave(remains: Remains, name: str, content: str | bytes) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (remains.folder / name).write_bytes(data)


def look(remains: Remains, judged: tuple[str, ...] = ()) -> CrashEvidence:
    return asyncio.run(last_boot.look(RULES, judged, remains, remains.previous_boot))


def attributions(found: CrashEvidence) -> list[str]:
    return [str(fault.attribution) for fault in found.faults]


def test_no_trace(remains: Remains) -> None:
    found = look(remains)
    assert (found.faults, found.crash, found.watchdog, found.judged) == ((), "", False, ())
    assert {name for name, _ in found.sources} == {"pstore", "journal", "watchdog"}
    assert all("not available" in state for name, state in found.sources if name != "pstore")


def test_a_panic_in_the_offload_path(remains: Remains) -> None:
    leave(remains, "dmesg-ramoops-0", dump(log(f"{OFFLOAD}\n{PANIC}")))
    found = look(remains)
    assert attributions(found) == ["offload"]
    assert "nf_flow_offload_tuple" in found.faults[0].because
    assert found.crash
    assert ("pstore", "ok, 1 crash dumps") in found.sources


def test_an_unrelated_panic_is_a_trace_without_faults(remains: Remains) -> None:
    leave(remains, "dmesg-ramoops-0", dump(log(f"sysrq: Trigger a crash\n{SYSRQ}")))
    found = look(remains)
    assert (found.faults, found.crash) == ((), SYSRQ)
    leave(remains, "dmesg-ramoops-0", dump(log(f"{UNRELATED}\n{PANIC}")))
    found = look(remains)
    assert found.faults == ()
    assert found.crash


def test_a_dump_without_a_legible_headline_is_still_a_crash(remains: Remains) -> None:
    leave(remains, "dmesg-ramoops-0", dump("\ufffd\x01\x02"))
    assert look(remains).crash == "Panic"


def test_what_was_judged_is_not_judged_again(remains: Remains) -> None:
    leave(remains, "dmesg-ramoops-0", dump(log(OFFLOAD)))
    first = look(remains)
    again = look(remains, first.judged)
    assert (again.faults, again.crash, again.judged) == ((), "", first.judged)
    leave(remains, "dmesg-ramoops-1", dump(log(f"{UNRELATED}\n{PANIC}")))
    other = look(remains, again.judged)
    assert other.faults == ()
    assert other.crash
    assert set(other.judged) > set(first.judged)


def test_the_slot_of_an_old_dump_is_used_again(remains: Remains) -> None:
    leave(remains, "dmesg-ramoops-0", dump(log(OFFLOAD)))
    judged = look(remains).judged
    leave(remains, "dmesg-ramoops-0", dump(log(OFFLOAD, start=50.0)))
    assert attributions(look(remains, judged)) == ["offload"]


def test_judged_forgets_what_is_gone(remains: Remains) -> None:
    assert look(remains, ("dmesg-ramoops-0:1:00000000",)).judged == ()


def test_what_the_kernel_survived_does_not_count(remains: Remains) -> None:
    long_ago = log(OFFLOAD, start=10.0)
    end = log(f"{UNRELATED}\n{PANIC}", start=20.0 + TAIL_SECONDS)
    leave(remains, "dmesg-ramoops-0", dump(long_ago + end))
    assert look(remains).faults == ()
    end = log("br-lan: port 1(lan1) entered forwarding state", start=5.0 + TAIL_SECONDS)
    leave(remains, "dmesg-ramoops-0", dump(long_ago + end))
    assert attributions(look(remains)) == ["offload"]


def test_a_console_convicts_where_there_is_no_dump(remains: Remains) -> None:
    leave(remains, "console-ramoops-0", log(OFFLOAD))
    assert attributions(look(remains)) == ["offload"]
    leave(remains, "dmesg-ramoops-0", dump(log(f"{OFFLOAD}\n{PANIC}")))
    assert attributions(look(remains)) == ["offload"]


def test_a_console_of_a_quiet_end_is_no_trace(remains: Remains) -> None:
    leave(remains, "console-ramoops-0", log("reboot: Restarting system"))
    found = look(remains)
    assert (found.faults, found.crash) == ((), "")
    assert len(found.judged) == 1


def test_a_dump_in_parts(remains: Remains) -> None:
    text = log(f"{OFFLOAD}\n{PANIC}")
    middle = text.index("\n", len(text) // 2) + 1
    leave(remains, "dmesg-efi-170000000001001", "Panic#1 Part1\n" + text[middle:])
    leave(remains, "dmesg-efi-170000000002001", "Panic#1 Part2\n" + text[:middle])
    assert attributions(look(remains)) == ["offload"]


def test_one_bad_file_does_not_stop_the_others(remains: Remains) -> None:
    leave(remains, "dmesg-ramoops-0.enc.z", b"rubbish")
    leave(remains, "dmesg-ramoops-1", dump(log(OFFLOAD)))
    found = look(remains)
    assert attributions(found) == ["offload"]
    assert "cannot be decompressed" in dict(found.sources)["pstore"]


@pytest.mark.parametrize(
    ("reset", "words"),
    [
        (True, "ok, it reset the system"),
        (False, "ok, it did not reset the system"),
        (None, "not available: no watchdog tells"),
    ],
)
def test_the_watchdog(remains: Remains, reset: bool | None, words: str) -> None:
    remains.reset = reset
    found = look(remains)
    assert found.watchdog is bool(reset)
    assert dict(found.sources)["watchdog"] == words


def test_the_journal_of_the_boot_before_is_judged_once(remains: Remains) -> None:
    records = tuple(logtext.read(log(f"{OFFLOAD}\n{PANIC}")))
    remains.journal = PreviousBoot("b001", records)
    found = look(remains)
    assert attributions(found) == ["offload"]
    assert found.judged == ("journal:b001",)
    assert dict(found.sources)["journal"] == f"ok, {len(records)} lines of the boot before"
    assert look(remains, found.judged).faults == ()


def test_a_dump_tells_more_than_the_journal(remains: Remains) -> None:
    remains.journal = PreviousBoot("b001", tuple(logtext.read(log(OFFLOAD))))
    leave(remains, "dmesg-ramoops-0", dump(log(f"{UNRELATED}\n{PANIC}")))
    found = look(remains)
    assert found.faults == ()
    assert len(found.judged) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NoJournal("systemd-python is not installed"), "systemd-python is not installed"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_a_journal_that_cannot_be_read_is_told(
    remains: Remains, error: OSError, words: str
) -> None:
    remains.journal = error
    assert dict(look(remains).sources)["journal"] == f"not available: {words}"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4000), st.integers(0, 4000), st.binary(max_size=40))
def test_a_cut_or_damaged_dump_is_read_as_far_as_it_goes(
    tmp_path_factory: pytest.TempPathFactory, cut: int, place: int, garbage: bytes
) -> None:
    folder = tmp_path_factory.mktemp("pstore")
    data = dump(log(f"{OFFLOAD}\n{PANIC}")).encode()
    damaged = data[:place] + garbage + data[place + len(garbage) :]
    (folder / "dmesg-ramoops-0").write_bytes(damaged[: max(cut, 1)])
    found = look(Remains(folder))
    assert len(found.judged) == 1
    assert all(fault.attribution is not Attribution.NONE for fault in found.faults)


# --- field logs, as the records that pstore would have made of them -----------------------


def as_dmesg(record: LogRecord) -> str:
    stamp = "" if record.time is None else f"[{record.time:12.6f}] "
    return f"<4>{stamp}{record.text}\n"


def parts(text: str, size: int) -> list[str]:
    """Cut at line ends into parts of about that size, the newest first."""
    pieces = [""]
    for line in text.splitlines(keepends=True):
        if len(pieces[-1]) + len(line) > size:
            pieces.append("")
        pieces[-1] += line
    return pieces[::-1]


def write_plain(remains: Remains, text: str) -> None:
    leave(remains, "dmesg-ramoops-0", dump(text))


def write_parts(remains: Remains, text: str) -> None:
    for number, piece in enumerate(parts(text, 1500), 1):
        header = f"Panic#1 Part{number}\n"
        leave(remains, f"dmesg-efi-17000000{number:04}001", header + piece)


def write_compressed(remains: Remains, text: str) -> None:
    stream = zlib.compressobj(wbits=-15)
    data = stream.compress(f"Panic#1 Part1\n{text}".encode()) + stream.flush()
    leave(remains, "dmesg-ramoops-0.enc.z", data + b"\n7 Corrected bytes, 0 unrecoverable blocks\n")


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no collection of field logs here")
@pytest.mark.parametrize("write", [write_plain, write_parts, write_compressed])
def test_field_logs_are_judged_as_saved_logs_are(remains: Remains, write: object) -> None:
    assert callable(write)
    different = []
    for file in sorted(CORPUS.glob("*.log")):
        text = file.read_text(errors="replace")
        write(remains, "".join(as_dmesg(r) for r in logtext.read(text) if r.kernel))
        found = verdict(look(remains).faults)
        if found is not verdict(classify(RULES, text)):
            different.append(file.name)
        for path in remains.folder.iterdir():
            path.unlink()
    assert different == []
