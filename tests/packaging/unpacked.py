# SPDX-License-Identifier: GPL-2.0-or-later
"""What the built packages hold, read by other code than the one that writes them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from tests.packaging import adb_reader

APK_SCRIPTS = (
    "trigger",
    "pre-install",
    "post-install",
    "pre-deinstall",
    "post-deinstall",
    "pre-upgrade",
    "post-upgrade",
)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """`files` are content and permissions by absolute path; `fields` say what it is."""

    files: dict[str, tuple[bytes, int]]
    fields: dict[str, str]
    scripts: dict[str, str]
    depends: tuple[str, ...]
    conffiles: tuple[str, ...]

    def modes(self) -> dict[str, int]:
        return {path: mode for path, (_, mode) in self.files.items()}


def ipk(content: bytes) -> Unpacked:
    parts = _tar(content)
    assert parts["/debian-binary"][0] == b"2.0\n"
    return _controlled(parts["/control.tar.gz"][0], parts["/data.tar.gz"][0])


def deb(content: bytes) -> Unpacked:
    parts = list(_ar(content))
    # dpkg wants them in this order.
    assert [name for name, _ in parts] == ["debian-binary", "control.tar.gz", "data.tar.gz"]
    assert parts[0][1] == b"2.0\n"
    return _controlled(parts[1][1], parts[2][1])


def apk(content: bytes) -> Unpacked:
    (_, values), *data = adb_reader.blocks(content)
    information, folders, scripts = _listed(adb_reader.root(values))
    fields = _listed(information)
    texts = ("name", "version", "", "description", "arch", "license", "origin", "maintainer", "url")
    contents = {_place(block): block[8:] for kind, block in data if kind == 2}
    assert len(contents) == len(data)
    named = zip(APK_SCRIPTS, _listed(scripts), strict=False)
    files = dict(_files(folders, contents))
    stated = {name: _text(field) for name, field in zip(texts, fields, strict=False) if name}
    return Unpacked(
        files,
        stated,
        {name: _text(script) for name, script in named if script},
        tuple(_text(_listed(dependency)[0]) for dependency in _listed(fields[14])),
        tuple(files[f"/lib/apk/packages/{stated['name']}.conffiles"][0].decode().split()),
    )


def _files(
    folders: adb_reader.Value, contents: dict[tuple[int, int], bytes]
) -> Iterator[tuple[str, tuple[bytes, int]]]:
    for in_folder, folder in enumerate(_listed(folders), 1):
        name, _owner, *files = _listed(folder)
        for number, file in enumerate(_listed(files[0]) if files else (), 1):
            file_name, owner, size, _time, digest = _listed(file)
            content = contents.get((in_folder, number), b"")
            mode, user, group = _listed(owner)
            assert (user, group, size) == (b"root", b"root", len(content))
            assert digest == hashlib.sha256(content).digest()
            assert isinstance(mode, int)
            path = "/".join(("", *filter(None, (_text(name), _text(file_name)))))
            yield path, (content, mode)


def _place(block: bytes) -> tuple[int, int]:
    return int.from_bytes(block[:4], "little"), int.from_bytes(block[4:8], "little")


def _listed(value: adb_reader.Value) -> list[adb_reader.Value]:
    assert isinstance(value, list)
    return value


def _text(value: adb_reader.Value) -> str:
    assert value is None or isinstance(value, bytes)
    return (value or b"").decode()


def _controlled(control: bytes, data: bytes) -> Unpacked:
    entries = {name.lstrip("/"): content.decode() for name, (content, _) in _tar(control).items()}
    lines = [line for line in entries.pop("control").splitlines() if not line.startswith(" ")]
    fields = dict(line.split(": ", 1) for line in lines)
    conffiles = tuple(entries.pop("conffiles").split())
    sums = entries.pop("md5sums", "")
    files = _tar(data)
    for line in sums.splitlines():
        digest, path = line.split("  ")
        assert hashlib.md5(files[f"/{path}"][0]).hexdigest() == digest
    return Unpacked(files, fields, entries, tuple(fields["Depends"].split(", ")), conffiles)


def _tar(content: bytes) -> dict[str, tuple[bytes, int]]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        for member in tar:
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "root", "root")
            if file := tar.extractfile(member):
                found[member.name.removeprefix(".")] = file.read(), member.mode
            else:
                assert (member.isdir(), member.mode) == (True, 0o755)
    return found


def _ar(content: bytes) -> Iterator[tuple[str, bytes]]:
    assert content[:8] == b"!<arch>\n"
    offset = 8
    while offset < len(content):
        header = content[offset : offset + 60].decode()
        assert header.endswith("`\n")
        size = int(header[48:58])
        yield header[:16].rstrip(), content[offset + 60 : offset + 60 + size]
        offset += 60 + size + size % 2
