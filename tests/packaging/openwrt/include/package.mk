# SPDX-License-Identifier: GPL-2.0-or-later
# Installs a package into $(OUT)/root, and writes what else it is made of into $(OUT).
define Packed
$(call Package/$(1))
all:
	mkdir -p $(PKG_INSTALL_DIR)/usr/bin
	touch $(PKG_INSTALL_DIR)/usr/bin/flowguard
	$$(Build/Prepare)
	$$(call Py3Package/$(1)/install,$(OUT)/root)
	$$(file >$(OUT)/depends,$$(DEPENDS))
	$$(file >$(OUT)/conffiles,$$(Package/$(1)/conffiles))
	$$(file >$(OUT)/prerm,$$(Package/$(1)/prerm))
endef

define BuildPackage
$(if $(filter %-src,$(1)),,$(call Packed,$(1)))
endef
