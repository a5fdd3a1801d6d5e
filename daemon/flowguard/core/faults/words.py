# SPDX-License-Identifier: GPL-2.0-or-later
"""One regular expression for many literals, quick where most texts contain none of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Characters of kernel logs, the most common first; all others are rarer.
_COMMON = " 0e1t2anoir3s4ld5c6kfuphm7.8b9g-:wy[]vCx_ED/,TASIPRON=LMFU"
_SHORTEST = 6
_END = ""
_Trie = dict[str, "_Trie"]


def filter_for(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern found in every text that contains one of the words, and in few others.

    The search stops at every character that a branch can begin with, so each word is
    looked for from its rarest character on; a trie tries the words there together.
    """
    trie: _Trie = {}
    for tail in sorted({_from_rarest(word) for word in words}, key=len):
        _insert(trie, tail)
    return re.compile(_pattern(trie))


def _from_rarest(word: str) -> str:
    starts = range(max(1, len(word) - _SHORTEST + 1))
    return word[max(starts, key=lambda start: _rarity(word[start])) :]


def _rarity(character: str) -> int:
    found = _COMMON.find(character)
    return len(_COMMON) if found < 0 else found


def _insert(trie: _Trie, word: str) -> None:
    node = trie
    for character in word:
        if _END in node:
            return  # a shorter word is found first anyway
        node = node.setdefault(character, {})
    node[_END] = {}


def _pattern(node: _Trie) -> str:
    if _END in node:
        return ""
    branches = [re.escape(c) + _pattern(child) for c, child in sorted(node.items())]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
