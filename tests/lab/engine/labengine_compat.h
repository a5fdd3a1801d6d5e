/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the lab's kernels call by other names. */
#ifndef LABENGINE_COMPAT_H
#define LABENGINE_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define LABENGINE_REMOVE remove
#else
#define LABENGINE_REMOVE remove_new
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#define system_dfl_wq system_unbound_wq
#endif

#endif
