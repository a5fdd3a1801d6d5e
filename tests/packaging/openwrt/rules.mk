# SPDX-License-Identifier: GPL-2.0-or-later
# Stand-ins for what OpenWrt's build offers a package, as far as the package uses it.
INCLUDE_DIR:=$(TOPDIR)/include
BUILD:=$(OUT)/build
PKG_BUILD_DIR:=$(BUILD)/source
PKG_INSTALL_DIR:=$(BUILD)/install
CP:=cp -fpR
SED:=sed -i -e
INSTALL_BIN:=install -m0755
INSTALL_CONF:=install -m0600
INSTALL_DATA:=install -m0644
INSTALL_DIR:=install -d -m0755
