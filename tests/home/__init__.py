# SPDX-License-Identifier: GPL-2.0-or-later
"""A home with two ways out, in network namespaces: what other people's rules make of it.

It needs root, `nft`, `ip` and `conntrack`, and no flowtables: flowguard's rules are loaded
without `flow add`, so what is seen is what they do to connections beside that.
"""
