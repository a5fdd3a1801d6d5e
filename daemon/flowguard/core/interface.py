# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces: what a part asks of another, for the type checker (PEP 544, structural).

At run time they are plain classes. `typing.Protocol` makes each an abstract one, and the
seventeen of this program would take 0.3 MB of a router's memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["Interface"]

if TYPE_CHECKING:
    from typing import Protocol as Interface
else:

    class Interface:
        """What `class Tables(Interface)` derives from."""
