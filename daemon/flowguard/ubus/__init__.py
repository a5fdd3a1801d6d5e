# SPDX-License-Identifier: GPL-2.0-or-later
"""ubus in pure Python for asyncio: knows nothing of flowguard and needs no libubus."""
