// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The flows, one per direction of a connection. As in hardware there is one slot per
 * tuple and the table belongs to the engine, not to a port or a flowtable: what nobody
 * removes stays, and goes on forwarding.
 */
#include <linux/bitmap.h>
#include <linux/jhash.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "labengine.h"

static const struct rhashtable_params labengine_by_cookie = {
	.head_offset = offsetof(struct labengine_flow, by_cookie),
	.key_offset = offsetof(struct labengine_flow, cookie),
	.key_len = sizeof_field(struct labengine_flow, cookie),
	.automatic_shrinking = true,
};

static const struct rhashtable_params labengine_by_match = {
	.head_offset = offsetof(struct labengine_flow, by_match),
	.key_offset = offsetof(struct labengine_flow, match),
	.key_len = sizeof_field(struct labengine_flow, match),
	.automatic_shrinking = true,
};

static struct rhashtable labengine_cookies;
static struct rhashtable labengine_matches;
static LIST_HEAD(labengine_flows);
static u32 labengine_flow_count;
static DECLARE_BITMAP(labengine_slots, LABENGINE_SLOTS);
static DEFINE_MUTEX(labengine_table_lock);

struct labengine_flow *labengine_table_find(const struct labengine_tuple *match)
{
	return rhashtable_lookup(&labengine_matches, match, labengine_by_match);
}

static struct labengine_flow *labengine_table_find_cookie(unsigned long cookie)
{
	return rhashtable_lookup_fast(&labengine_cookies, &cookie, labengine_by_cookie);
}

static void labengine_table_drop(struct labengine_flow *flow)
{
	rhashtable_remove_fast(&labengine_cookies, &flow->by_cookie, labengine_by_cookie);
	rhashtable_remove_fast(&labengine_matches, &flow->by_match, labengine_by_match);
	list_del(&flow->list);
	clear_bit(flow->slot, labengine_slots);
	WRITE_ONCE(labengine_flow_count, labengine_flow_count - 1);
	kfree_rcu(flow, rcu);
}

static struct labengine_tuple labengine_reversed(const struct labengine_tuple *tuple)
{
	struct labengine_tuple reversed = *tuple;

	swap(reversed.source, reversed.destination);
	swap(reversed.source_port, reversed.destination_port);
	return reversed;
}

/*
 * The kernel does not say which direction of a connection it installs, but always starts
 * with the original one: when the opposite flow is here, this is its counterpart.
 */
static void labengine_table_pair(struct labengine_flow *flow)
{
	struct labengine_tuple opposite = labengine_reversed(&flow->rewrite);
	struct labengine_flow *other;
	bool reply;

	rcu_read_lock();
	other = labengine_table_find(&opposite);
	reply = other && other->direction == LABENGINE_ORIGINAL;
	rcu_read_unlock();
	flow->direction = reply ? LABENGINE_REPLY : LABENGINE_ORIGINAL;
	flow->hash = jhash(reply ? &opposite : &flow->match, sizeof(opposite), 0);
}

/* The free slot next to where the hash points. */
static int labengine_table_take_slot(struct labengine_flow *flow)
{
	u32 wanted = jhash(&flow->match, sizeof(flow->match), 0) % LABENGINE_SLOTS;

	flow->slot = find_next_zero_bit(labengine_slots, LABENGINE_SLOTS, wanted);
	if (flow->slot >= LABENGINE_SLOTS)
		flow->slot = find_first_zero_bit(labengine_slots, LABENGINE_SLOTS);
	return flow->slot < LABENGINE_SLOTS ? 0 : -ENOSPC;
}

static int labengine_table_insert(struct labengine_flow *flow)
{
	int err = rhashtable_insert_fast(&labengine_cookies, &flow->by_cookie,
					 labengine_by_cookie);

	if (err)
		return err;
	err = rhashtable_insert_fast(&labengine_matches, &flow->by_match, labengine_by_match);
	if (err) {
		rhashtable_remove_fast(&labengine_cookies, &flow->by_cookie,
				       labengine_by_cookie);
		return err;
	}
	list_add_tail(&flow->list, &labengine_flows);
	set_bit(flow->slot, labengine_slots);
	WRITE_ONCE(labengine_flow_count, labengine_flow_count + 1);
	return 0;
}

static int labengine_table_admit(struct labengine_flow *flow)
{
	u32 limit = READ_ONCE(labengine_faults.table_limit);
	struct labengine_flow *same;

	if (labengine_table_find_cookie(flow->cookie))
		return -EEXIST;
	if (flow->out->removed)
		return -ENODEV;
	same = rhashtable_lookup_fast(&labengine_matches, &flow->match, labengine_by_match);
	if (limit && labengine_flow_count >= limit && !same)
		return -ENOSPC;
	/* A stale flow of an earlier flowtable: the slot is overwritten. */
	if (same)
		labengine_table_drop(same);
	labengine_table_pair(flow);
	flow->bound = labengine_fault_binds(flow);
	return labengine_table_take_slot(flow) ?: labengine_table_insert(flow);
}

int labengine_table_add(struct labengine_flow *flow)
{
	int err;

	mutex_lock(&labengine_table_lock);
	err = labengine_table_admit(flow);
	mutex_unlock(&labengine_table_lock);
	if (err)
		kfree_rcu(flow, rcu);
	return err;
}

int labengine_table_remove(unsigned long cookie)
{
	struct labengine_flow *flow;
	int err = -ENOENT;

	mutex_lock(&labengine_table_lock);
	flow = labengine_table_find_cookie(cookie);
	if (flow) {
		err = 0;
		if (!READ_ONCE(labengine_faults.forget_destroy))
			labengine_table_drop(flow);
	}
	mutex_unlock(&labengine_table_lock);
	return err;
}

int labengine_table_usage(unsigned long cookie, bool frozen, struct labengine_usage *usage)
{
	struct labengine_flow *flow;
	int err = -ENOENT;

	mutex_lock(&labengine_table_lock);
	flow = labengine_table_find_cookie(cookie);
	if (flow) {
		u64 packets = atomic64_read(&flow->packets);
		u64 bytes = atomic64_read(&flow->bytes);

		if (frozen) {
			packets = flow->reported_packets;
			bytes = flow->reported_bytes;
		} else {
			flow->reported_used = READ_ONCE(flow->used);
		}
		usage->packets = packets - flow->reported_packets;
		usage->bytes = bytes - flow->reported_bytes;
		usage->used = flow->reported_used;
		flow->reported_packets = packets;
		flow->reported_bytes = bytes;
		err = 0;
	}
	mutex_unlock(&labengine_table_lock);
	return err;
}

static void labengine_table_drop_all(const struct labengine_port *out)
{
	struct labengine_flow *flow, *next;

	list_for_each_entry_safe(flow, next, &labengine_flows, list)
		if (!out || flow->out == out)
			labengine_table_drop(flow);
}

void labengine_table_flush(void)
{
	mutex_lock(&labengine_table_lock);
	labengine_table_drop_all(NULL);
	mutex_unlock(&labengine_table_lock);
}

void labengine_table_remove_port(struct labengine_port *port)
{
	mutex_lock(&labengine_table_lock);
	port->removed = true;
	labengine_table_drop_all(port);
	mutex_unlock(&labengine_table_lock);
	/* Frames on their way to the port have left it when this returns. */
	synchronize_net();
}

int labengine_table_show(struct seq_file *file,
			 void (*show)(struct seq_file *file, const struct labengine_flow *flow))
{
	struct labengine_flow *flow;

	mutex_lock(&labengine_table_lock);
	list_for_each_entry(flow, &labengine_flows, list)
		show(file, flow);
	mutex_unlock(&labengine_table_lock);
	return 0;
}

u32 labengine_table_count(void)
{
	return READ_ONCE(labengine_flow_count);
}

int labengine_table_init(void)
{
	int err = rhashtable_init(&labengine_cookies, &labengine_by_cookie);

	if (err)
		return err;
	err = rhashtable_init(&labengine_matches, &labengine_by_match);
	if (err)
		rhashtable_destroy(&labengine_cookies);
	return err;
}

void labengine_table_exit(void)
{
	labengine_table_flush();
	rhashtable_destroy(&labengine_matches);
	rhashtable_destroy(&labengine_cookies);
}
