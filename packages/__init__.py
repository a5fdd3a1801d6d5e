# SPDX-License-Identifier: GPL-2.0-or-later
"""What `./package` builds: packages for OpenWrt and Debian, and the release's tarball.

It needs nothing but Python: no SDK, no root, no packager.
"""
