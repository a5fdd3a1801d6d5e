# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash dumps as the kernel and systemd-pstore leave them."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowguard.kernel import pstore

TEXT = "<6>[   12.000000] first\n<0>[   13.000000] Kernel panic - not syncing: last\n"
ECC = "\n3 Corrected bytes, 1 unrecoverable blocks\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def raw_deflate(text: str) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(text.encode()) + stream.flush()


def read(folder: Path) -> list[pstore.Dump]:
    found = pstore.read([str(folder)])
    assert found.problems == ()
    return list(found.dumps)


def test_a_dump_of_ramoops(tmp_path: Path) -> None:
    write(tmp_path, "dmesg-ramoops-0", "Panic#2 Part1\n" + TEXT + ECC)
    (dump,) = read(tmp_path)
    assert (dump.name, dump.reason, dump.is_crash) == ("dmesg-ramoops-0", "Panic", True)
    assert dump.text == TEXT + ECC


def test_other_records_are_left_alone(tmp_path: Path) -> None:
    for name in ("pmsg-ramoops-0", "ftrace-ramoops-0", "dmesg.txt", "dmesg-ramoops-x", ".hidden"):
        write(tmp_path, name, "Panic#1 Part1\n" + TEXT)
    assert read(tmp_path) == []


def test_a_console_and_a_planned_reboot_are_no_crash(tmp_path: Path) -> None:
    write(tmp_path, "console-ramoops-0", TEXT)
    write(tmp_path, "dmesg-ramoops-0", "Shutdown#1 Part1\n" + TEXT)
    assert [dump.is_crash for dump in read(tmp_path)] == [False, False]


def test_parts_are_joined_oldest_first(tmp_path: Path) -> None:
    for part, text in ((1, "c\n"), (2, "b\n"), (3, "a\n")):
        header = f"Panic#1 Part{part}\n"
        write(tmp_path, f"dmesg-efi_pstore-17000000000{part}001", header + text)
    (dump,) = read(tmp_path)
    assert dump.text.split() == ["a", "b", "c"]
    assert len(dump.identities) == 3


def test_crashes_are_kept_apart(tmp_path: Path) -> None:
    oops, panic, later = "Oops#1 Part{}\n", "Panic#2 Part{}\n", "Panic#2 Part{}\n"
    headers = [oops.format(1), oops.format(2), panic.format(1), later.format(1), later.format(2)]
    for number, header in enumerate(headers):
        write(tmp_path, f"dmesg-erst-{number}", header + f"{number}\n")
    texts = [dump.text.split() for dump in read(tmp_path)]
    assert texts == [["1", "0"], ["2"], ["4", "3"]]


def test_more_than_nine_parts(tmp_path: Path) -> None:
    for part in range(1, 13):
        header = f"Panic#1 Part{part}\n"
        write(tmp_path, f"dmesg-efi-17000000000{part:02}001", f"{header}{part}\n")
    (dump,) = read(tmp_path)
    assert dump.text.split() == [str(part) for part in range(12, 0, -1)]


@pytest.mark.parametrize("compress", [raw_deflate, lambda text: zlib.compress(text.encode())])
def test_what_the_kernel_could_not_decompress(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    data = compress("Oops#1 Part1\n" + TEXT)
    write(tmp_path, "dmesg-ramoops-0.enc.z", data + ECC.encode())
    (dump,) = read(tmp_path)
    assert (dump.reason, dump.text) == ("Oops", TEXT)


def test_damaged_compression_gives_what_is_before_the_damage(tmp_path: Path) -> None:
    lines = "".join(f"<6>[ {n:4}.000000] line {n * 7919}\n" for n in range(2000))
    data = bytearray(raw_deflate("Panic#1 Part1\n" + lines))
    data[len(data) // 2 :] = b"\xff" * (len(data) // 2)
    write(tmp_path, "dmesg-ramoops-0.enc.z", bytes(data))
    (dump,) = read(tmp_path)
    assert "line 7919\n" in dump.text
    assert len(dump.text) > len(lines) // 4


def test_garbage_is_a_problem_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, "dmesg-ramoops-0.enc.z", b"\x00garbage" * 40)
    write(tmp_path, "dmesg-ramoops-1", "Panic#1 Part1\n" + TEXT)
    found = pstore.read([str(tmp_path)])
    assert [dump.name for dump in found.dumps] == ["dmesg-ramoops-1"]
    (problem,) = found.problems
    assert problem.endswith("dmesg-ramoops-0.enc.z: cannot be decompressed")


def test_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "dmesg-ramoops-0").symlink_to(tmp_path / "gone")
    write(tmp_path, "dmesg-ramoops-1", "Panic#1 Part1\n" + TEXT)
    found = pstore.read([str(tmp_path), str(tmp_path / "no-such-folder")])
    assert len(found.dumps) == 1
    assert found.problems == (f"{tmp_path}/dmesg-ramoops-0: No such file or directory",)


def test_an_identity_survives_the_move_by_systemd(tmp_path: Path) -> None:
    kernel, archive = tmp_path / "kernel", tmp_path / "archive"
    path = write(kernel, "dmesg-efi-170000000001001", "Panic#1 Part1\n" + TEXT)
    (before,) = read(kernel)
    (archive / "1700000000" / "001").mkdir(parents=True)
    moved = archive / "1700000000" / "001" / path.name
    path.rename(moved)
    os.utime(moved, (0, 0))
    (after,) = read(archive)
    assert after == before
    moved.write_text("Panic#1 Part1\n" + TEXT.replace("13.0", "14.0"))
    (other,) = read(archive)
    assert other.identities != before.identities


def test_a_record_in_both_folders_is_one(tmp_path: Path) -> None:
    for folder in ("kernel", "archive"):
        write(tmp_path / folder, "dmesg-ramoops-0", "Panic#1 Part1\n" + TEXT)
    found = pstore.read([str(tmp_path / "kernel"), str(tmp_path / "archive")])
    assert len(found.dumps) == 1


def test_reading_is_bounded(tmp_path: Path) -> None:
    end = b"the end\n"
    write(tmp_path, "console-ramoops-0", b"x" * 2 * pstore.LARGEST + end)
    bomb = raw_deflate("Panic#1 Part1\n" + "y" * 20 * pstore.LARGEST)
    write(tmp_path, "dmesg-ramoops-0.enc.z", bomb)
    console, bombed = read(tmp_path)
    assert len(console.text) == pstore.LARGEST
    assert console.text.endswith(end.decode())
    assert len(bombed.text) <= pstore.LARGEST


def test_the_newest_of_too_many(tmp_path: Path) -> None:
    for number in range(pstore.MOST + 5):
        path = write(tmp_path, f"dmesg-ramoops-{number}", f"Panic#1 Part1\n{number}\n")
        os.utime(path, (number, number))
    assert {dump.text.strip() for dump in read(tmp_path)} == {
        str(number) for number in range(5, pstore.MOST + 5)
    }


def test_why_there_are_no_dumps(tmp_path: Path) -> None:
    backend = tmp_path / "backend"
    assert "no pstore" in pstore.missing(str(tmp_path / "gone"), str(backend))
    backend.write_text("(null)\n")
    assert "no medium" in pstore.missing(str(tmp_path), str(backend))
    backend.write_text("ramoops\n")
    assert "mounted" in pstore.missing(str(tmp_path), str(backend))
    assert pstore.missing("/", str(backend)) == ""


def test_clear_deletes_records_only(tmp_path: Path) -> None:
    write(tmp_path / "sub", "dmesg-ramoops-0", TEXT)
    write(tmp_path, "console-ramoops-0", TEXT)
    kept = write(tmp_path, "notes", TEXT)
    assert pstore.clear([str(tmp_path)]) == ()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["dmesg-ramoops-{}", "console-ramoops-{}", "dmesg-efi-{}.enc.z"]),
            st.one_of(
                st.binary(max_size=400),
                st.integers(0, 200).map(lambda cut: raw_deflate("Panic#1 Part1\n" + TEXT)[:cut]),
                st.integers(0, 90).map(lambda cut: ("Oops#1 Part2\n" + TEXT).encode()[:cut]),
            ),
        ),
        max_size=6,
    )
)
def test_no_record_is_too_strange(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("pstore")
    for number, (name, data) in enumerate(files):
        write(folder, name.format(number), data)
    found = pstore.read([str(folder)])
    identities = [identity for dump in found.dumps for identity in dump.identities]
    assert len(set(identities)) + len(found.problems) == len(files)
