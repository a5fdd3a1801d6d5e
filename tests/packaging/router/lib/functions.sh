# SPDX-License-Identifier: GPL-2.0-or-later
# Stand-in for OpenWrt's functions.sh: what that does for packages, in its order.
listed() { cat "/usr/lib/opkg/info/$pkgname.list" "/lib/apk/packages/$pkgname.list" 2>/dev/null | grep "^$1"; }
own() { [ ! -f "/usr/lib/opkg/info/$pkgname.$1" ] || (. "/usr/lib/opkg/info/$pkgname.$1"); }
name() { [ -n "$pkgname" ] || pkgname=$(basename "${1%.*}"); }

default_postinst() {
	name "$1"
	for file in $(listed /etc/uci-defaults/); do
		(. "$file") && rm -f "$file"
	done
	own postinst-pkg
	for file in $(listed /etc/init.d/); do
		[ "$PKG_UPGRADE" = 1 ] || "$file" enable
		"$file" start
	done
}

default_prerm() {
	name "$1"
	own prerm-pkg
	for file in $(listed /etc/init.d/); do
		[ "$PKG_UPGRADE" = 1 ] || "$file" disable
		"$file" stop
	done
}

add_group_and_user() { :; }
config_load() { :; }
config_get_bool() { eval "$1=0"; }
