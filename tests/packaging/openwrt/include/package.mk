# SPDX-License-Identifier: GPL-2.0-or-later
# Installs a package into $(OUT)/root, and writes what else it is made of into $(OUT). In place of
# a release's tarball, TREE is what one would unpack to.
define Packed
$(call Package/$(1))
all:
	mkdir -p $(PKG_INSTALL_DIR)/usr/bin $(PKG_BUILD_DIR)
	touch $(PKG_INSTALL_DIR)/usr/bin/flowguard
	$(CP) $(TREE)/LICENSE $(TREE)/config $(TREE)/daemon $(TREE)/init.d $(PKG_BUILD_DIR)/
	test -e $(PKG_BUILD_DIR)/$(PKG_LICENSE_FILES)
	$$(call Py3Package/$(1)/install,$(OUT)/root)
	$$(file >$(OUT)/depends,$$(DEPENDS))
	$$(file >$(OUT)/fields,$$(SECTION)|$$(TITLE)|$$(URL)|$(PKG_MAINTAINER)|$(PKG_LICENSE))
	$$(file >$(OUT)/description,$$(Package/$(1)/description))
	$$(file >$(OUT)/conffiles,$$(Package/$(1)/conffiles))
	$$(file >$(OUT)/preinst,$$(Package/$(1)/preinst))
	$$(file >$(OUT)/prerm,$$(Package/$(1)/prerm))
endef

define BuildPackage
$(if $(filter %-src,$(1)),,$(call Packed,$(1)))
endef
