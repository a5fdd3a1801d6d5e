# SPDX-License-Identifier: GPL-2.0-or-later
"""Which parts of Python's library OpenWrt packs apart from python3-light.

From lang/python/python3/files/python3-package-*.mk of the packages feed, branches 23.05 to
main; whatever is in none of them is in python3-light.
"""

from __future__ import annotations

SPLIT: dict[str, tuple[str, ...]] = {
    "python3-asyncio": ("asyncio", "_asyncio"),
    "python3-cgi": ("cgi", "cgitb"),
    "python3-codecs": (
        "_codecs_cn",
        "_codecs_hk",
        "_codecs_iso2022",
        "_codecs_jp",
        "_codecs_kr",
        "_codecs_tw",
        "_multibytecodec",
        "unicodedata",
    ),
    "python3-ctypes": ("ctypes", "_ctypes"),
    "python3-dbm": ("dbm", "_dbm", "_gdbm"),
    "python3-decimal": ("decimal", "_decimal"),
    "python3-distutils": ("distutils",),
    "python3-email": ("email",),
    "python3-lib2to3": ("lib2to3",),
    "python3-logging": ("logging",),
    "python3-lzma": ("lzma", "_lzma"),
    "python3-multiprocessing": ("multiprocessing", "_multiprocessing"),
    "python3-ncurses": ("curses", "_curses", "_curses_panel"),
    "python3-openssl": ("_hashlib", "_ssl"),
    "python3-pydoc": ("doctest", "pydoc", "pydoc_data"),
    "python3-readline": ("readline",),
    "python3-sqlite3": ("sqlite3", "_sqlite3"),
    "python3-unittest": ("unittest",),
    "python3-urllib": ("urllib",),
    "python3-uuid": ("uuid", "_uuid"),
    "python3-venv": ("ensurepip", "venv"),
    "python3-xml": ("xml", "xmlrpc", "_elementtree", "pyexpat"),
}

NOT_EVERYWHERE = frozenset({"python3-cgi", "python3-distutils", "python3-email", "python3-lib2to3"})
"""No package of these names in 25.12 or on main, so depending on one would break there."""

NOWHERE = ("idlelib", "test", "tkinter", "turtledemo", "webbrowser")
"""In no package at all."""


def package_of(module: str) -> str:
    """The package that a module of the standard library, or a part of one, is in."""
    top = module.partition(".")[0]
    return next((name for name, modules in SPLIT.items() if top in modules), "python3-light")
