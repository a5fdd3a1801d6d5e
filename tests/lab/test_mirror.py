# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.mirror import AptSource, MirrorError, debian_source, parse_deb822, parse_one_line

BOOKWORM = 'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12"\n'


def machine(root: Path, os_release: str, sources: dict[str, str]) -> Path:
    (root / "etc/apt/sources.list.d").mkdir(parents=True)
    (root / "etc/os-release").write_text(os_release)
    for name, text in sources.items():
        (root / "etc/apt" / name).write_text(text)
    return root


def test_deb822_with_comments_security_and_keyring(tmp_path: Path) -> None:
    text = """\
Types: deb
# a comment inside a stanza
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/example.gpg
"""
    root = machine(tmp_path, BOOKWORM, {"sources.list.d/debian.sources": text})
    source = debian_source(root)
    assert source.uri == "http://mirror.example/debian"
    assert source.line("bookworm-backports") == (
        "deb [signed-by=/usr/share/keyrings/example.gpg]"
        " http://mirror.example/debian bookworm-backports main"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://m/debian bookworm main", AptSource("http://m/debian", ("bookworm",), None)),
        (
            "deb [arch=amd64 signed-by=/k.gpg] https://m/debian sid main contrib",
            AptSource("https://m/debian", ("sid",), "/k.gpg"),
        ),
    ],
)
def test_one_line_source(line: str, expected: AptSource) -> None:
    assert list(parse_one_line(line)) == [expected]


@pytest.mark.parametrize("line", ["# deb http://m/debian sid main", "deb-src http://m/d sid main"])
def test_one_line_that_is_no_binary_source(line: str) -> None:
    assert list(parse_one_line(line)) == []


def test_disabled_stanza_and_embedded_key() -> None:
    text = """\
Types: deb
URIs: http://off/debian
Suites: sid
Enabled: no

Types: deb
URIs: http://on/debian
Suites: sid
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFit2ioBEADhWpZ8
 -----END PGP PUBLIC KEY BLOCK-----
"""
    assert list(parse_deb822(text)) == [AptSource("http://on/debian", ("sid",), None)]


def test_another_distribution_is_named(tmp_path: Path) -> None:
    root = machine(tmp_path, 'ID=fedora\nPRETTY_NAME="Fedora Linux 40"\n', {})
    with pytest.raises(MirrorError, match="Fedora Linux 40"):
        debian_source(root)


def test_no_mirror_at_all(tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match="no Debian mirror"):
        debian_source(machine(tmp_path, BOOKWORM, {"sources.list": "# nothing\n"}))
