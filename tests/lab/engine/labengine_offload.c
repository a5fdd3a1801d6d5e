// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The driver's side of net/netfilter/nf_flow_table_offload.c: a flowtable binds to our
 * ports (TC_SETUP_FT) and then sends its flows to the block callback, from workqueues.
 */
#include <linux/delay.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <net/flow_offload.h>
#include <net/pkt_cls.h>

#include "labengine.h"
#include "labengine_compat.h"

static int labengine_offload_program(struct flow_cls_offload *cls)
{
	struct labengine_flow *flow = kzalloc(sizeof(*flow), GFP_KERNEL);
	int err;

	if (!flow)
		return -ENOMEM;
	flow->cookie = cls->cookie;
	flow->used = jiffies;
	flow->reported_used = jiffies;
	err = labengine_rule_read(flow_cls_offload_flow_rule(cls), flow);
	if (err) {
		kfree(flow);
		return err;
	}
	return labengine_table_add(flow);
}

/* Not inlined, so that a call trace names what went wrong. */
static noinline void labengine_offload_touch_missing_entry(void)
{
	static struct labengine_flow *missing;

	WRITE_ONCE(READ_ONCE(missing)->used, jiffies);
}

/* Unlike the block callback, this runs without the flowtable's lock. */
static void labengine_offload_commit(struct work_struct *work)
{
	labengine_offload_touch_missing_entry();
}

static DECLARE_WORK(labengine_offload_commit_work, labengine_offload_commit);

static noinline void labengine_offload_wait_for_engine(unsigned int seconds)
{
	ssleep(seconds);
}

static noinline void labengine_offload_poll_engine(unsigned int seconds)
{
	preempt_disable();
	while (seconds--)
		mdelay(1000);
	preempt_enable();
}

static void labengine_offload_replace_faults(const struct flow_cls_offload *cls)
{
	struct labengine_faults *faults = &labengine_faults;
	int seconds;

	WARN(labengine_fault_take(&faults->warn_on_replace),
	     "flow entry %lx does not match its slot\n", cls->cookie);
	if (labengine_fault_take(&faults->oops_on_replace))
		labengine_offload_touch_missing_entry();
	if (labengine_fault_take(&faults->oops_in_worker))
		queue_work(system_dfl_wq, &labengine_offload_commit_work);
	if (labengine_fault_take(&faults->panic_on_replace))
		panic(LABENGINE ": unrecoverable table error");
	seconds = atomic_xchg(&faults->stall_on_replace, 0);
	if (seconds > 0)
		labengine_offload_wait_for_engine(seconds);
	seconds = atomic_xchg(&faults->spin_on_replace, 0);
	if (seconds > 0)
		labengine_offload_poll_engine(seconds);
}

static noinline int labengine_offload_replace(struct flow_cls_offload *cls)
{
	u32 refuse = READ_ONCE(labengine_faults.refuse_errno);
	int err;

	atomic64_inc(&labengine_counters.replace);
	labengine_offload_replace_faults(cls);
	err = refuse ? -(int)refuse : labengine_offload_program(cls);
	/* The kernel offers a flow to every bound port; the second time it is known. */
	if (err && err != -EEXIST)
		atomic64_inc(&labengine_counters.refused);
	return err;
}

static noinline int labengine_offload_stats(struct flow_cls_offload *cls)
{
	u32 mode = READ_ONCE(labengine_faults.stats_mode);
	struct labengine_usage usage;
	int err;

	atomic64_inc(&labengine_counters.stats);
	if (labengine_fault_take(&labengine_faults.oops_on_stats))
		labengine_offload_touch_missing_entry();
	if (mode == LABENGINE_STATS_MISSING)
		return -EOPNOTSUPP;
	err = labengine_table_usage(cls->cookie, mode == LABENGINE_STATS_FROZEN, &usage);
	if (err)
		return err;
	flow_stats_update(&cls->stats, usage.bytes, usage.packets, 0, usage.used,
			  FLOW_ACTION_HW_STATS_DELAYED);
	return 0;
}

static int labengine_offload_block_cb(enum tc_setup_type type, void *data, void *private)
{
	struct flow_cls_offload *cls = data;
	struct net_device *dev = private;
	int err;

	/* As in the drivers of MediaTek and Airoha: switched off means deaf, for DESTROY too. */
	if (type != TC_SETUP_CLSFLOWER || !tc_can_offload(dev))
		return -EOPNOTSUPP;
	switch (cls->command) {
	case FLOW_CLS_REPLACE:
		return labengine_offload_replace(cls);
	case FLOW_CLS_DESTROY:
		err = labengine_table_remove(cls->cookie);
		/* Counted when it is done: who waits for the count may change the faults then. */
		atomic64_inc(&labengine_counters.destroy);
		return err;
	case FLOW_CLS_STATS:
		return labengine_offload_stats(cls);
	default:
		return -EOPNOTSUPP;
	}
}

static LIST_HEAD(labengine_blocks);

static int labengine_offload_bind(struct net_device *dev, struct flow_block_offload *offload)
{
	struct flow_block_cb *block;

	if (labengine_fault_take(&labengine_faults.panic_on_bind))
		panic(LABENGINE ": no answer from the engine");
	/* Looked up per block, so one port may serve several flowtables. */
	block = flow_block_cb_lookup(offload->block, labengine_offload_block_cb, dev);
	if (!block) {
		block = flow_block_cb_alloc(labengine_offload_block_cb, dev, dev, NULL);
		if (IS_ERR(block))
			return PTR_ERR(block);
		flow_block_cb_add(block, offload);
		list_add_tail(&block->driver_list, &labengine_blocks);
		atomic64_inc(&labengine_counters.blocks);
	}
	flow_block_cb_incref(block);
	return 0;
}

/* The flows stay in the table: unbinding is not a reason to touch the hardware. */
static int labengine_offload_unbind(struct net_device *dev, struct flow_block_offload *offload)
{
	struct flow_block_cb *block;

	block = flow_block_cb_lookup(offload->block, labengine_offload_block_cb, dev);
	if (!block)
		return -ENOENT;
	if (!flow_block_cb_decref(block)) {
		flow_block_cb_remove(block, offload);
		list_del(&block->driver_list);
		atomic64_dec(&labengine_counters.blocks);
	}
	return 0;
}

int labengine_offload_setup_tc(struct net_device *dev, enum tc_setup_type type, void *data)
{
	struct flow_block_offload *offload = data;

	if (type != TC_SETUP_FT ||
	    offload->binder_type != FLOW_BLOCK_BINDER_TYPE_CLSACT_INGRESS)
		return -EOPNOTSUPP;
	offload->driver_block_list = &labengine_blocks;
	switch (offload->command) {
	case FLOW_BLOCK_BIND:
		return labengine_offload_bind(dev, offload);
	case FLOW_BLOCK_UNBIND:
		return labengine_offload_unbind(dev, offload);
	default:
		return -EOPNOTSUPP;
	}
}
