# SPDX-License-Identifier: GPL-2.0-or-later
# Installs a package of LuCI into $(OUT)/root, and writes what else it is made of into $(OUT).
FILES:=$(shell cd $(CURDIR) && find htdocs root -type f)
all:
	for file in $(FILES); do \
		case $$file in htdocs/*) to=www/$${file#*/} ;; *) to=$${file#*/} ;; esac; \
		install -D -m0644 $$file $(OUT)/root/$$to; \
	done
	$(file >$(OUT)/depends,$(LUCI_DEPENDS))
	$(file >$(OUT)/fields,luci|$(LUCI_TITLE)|$(LUCI_URL)|$(LUCI_MAINTAINER)|$(PKG_LICENSE))
	$(file >$(OUT)/description,$(LUCI_DESCRIPTION))
	touch $(OUT)/conffiles $(OUT)/preinst $(OUT)/prerm
