#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# For the feed's CI, after the installation of a package: its name and version.
[ "$1" = flowguard ] || exit 0
set -e

version="$(flowguard --version)"
[ "$version" = "$2" ] || {
	echo "flowguard --version prints $version and not $2" >&2
	exit 1
}

# Reads the rules, which are no Python and could be missing.
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
echo "[  100.0] NETDEV WATCHDOG: wan (mtk_soc_eth): transmit queue 0 timed out" >"$log"
flowguard classify --json "$log" | grep '"verdict": "driver"' || {
	echo "flowguard classify does not know a transmit timeout" >&2
	exit 1
}

# Installed, it is not enabled, and ends at once.
flowguard run --config /etc/config/flowguard --state-dir "$(mktemp -d)"
