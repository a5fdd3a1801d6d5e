# SPDX-License-Identifier: GPL-2.0-or-later
define Py3Package
endef
