/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A simulated packet engine: what a router SoC's flow offloading does, in software.
 *
 *   wire side  --frame-->  labengine_forward  --hit-->  wire side of another port
 *                                |
 *                               miss
 *                                v
 *                          router side: the kernel's network stack
 *
 * main: module and platform devices.  ports: the netdevs.  table: the flows.
 * offload: the kernel's flowtable talks to us.  rule: what it says, as one of our flows.
 * forward: the fast path.  faults: what can be broken on purpose.  debugfs: what can be read.
 */
#ifndef LABENGINE_H
#define LABENGINE_H

#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/if_ether.h>
#include <linux/in6.h>
#include <linux/netdevice.h>
#include <linux/rhashtable.h>
#include <linux/skbuff.h>
#include <linux/types.h>

#define LABENGINE "labengine"
#define LABENGINE_MAX_PORTS 8
#define LABENGINE_SLOTS 16384

/* ports */

struct labengine_port {
	struct net_device *router;
	struct net_device *wire;
	unsigned int index;
	bool removed;		/* under the table's lock: accepts no more flows */
	bool hung;		/* the TX ring towards the wire takes frames and never completes */
	u32 tx_timeouts;	/* since it hung */
};

struct labengine_port *labengine_port_create(struct device *parent, const char *name,
					     unsigned int index);
void labengine_port_destroy(struct labengine_port *port);
struct labengine_port *labengine_port_of(const struct net_device *dev);
void labengine_port_set_hung(struct labengine_port *port, bool hung);
/* Hand a frame to one of our netdevs as received; consumes it. */
void labengine_deliver(struct sk_buff *skb, struct net_device *to);

/* Calls visit for every port; it returns 0 to go on. */
int labengine_for_each_port(int (*visit)(struct labengine_port *port, void *context),
			    void *context);

/* table */

/* Compared byte by byte, so it has no holes; an IPv4 address is in the first word. */
struct labengine_tuple {
	struct in6_addr source;
	struct in6_addr destination;
	__be16 source_port;
	__be16 destination_port;
	u8 family;		/* 4 or 6 */
	u8 protocol;
	u16 zero;
};

enum labengine_direction { LABENGINE_BOTH, LABENGINE_ORIGINAL, LABENGINE_REPLY };

struct labengine_flow {
	struct rhash_head by_cookie;
	struct rhash_head by_match;
	struct list_head list;
	struct rcu_head rcu;
	unsigned long cookie;
	struct labengine_tuple match;
	struct labengine_tuple rewrite;	/* what match becomes on the other side */
	u8 source[ETH_ALEN];
	u8 destination[ETH_ALEN];
	struct labengine_port *out;
	enum labengine_direction direction;
	bool bound;		/* or only known: then its packets are for the router's stack */
	u32 hash;		/* the same for both directions of a connection */
	u32 slot;		/* its own place in the table */
	atomic64_t packets;
	atomic64_t bytes;
	unsigned long used;	/* jiffies */
	u64 reported_packets;
	u64 reported_bytes;
	unsigned long reported_used;
};

/* What happened since the last report. */
struct labengine_usage {
	u64 packets;
	u64 bytes;
	unsigned long used;	/* jiffies */
};

int labengine_table_init(void);
void labengine_table_exit(void);
/* Takes the flow over, on failure too. -EEXIST: known cookie; -ENOSPC: table full. */
int labengine_table_add(struct labengine_flow *flow);
int labengine_table_remove(unsigned long cookie);
int labengine_table_usage(unsigned long cookie, bool frozen, struct labengine_usage *usage);
/* Under rcu_read_lock(). */
struct labengine_flow *labengine_table_find(const struct labengine_tuple *match);
void labengine_table_flush(void);
void labengine_table_remove_port(struct labengine_port *port);
int labengine_table_show(struct seq_file *file,
			 void (*show)(struct seq_file *file, const struct labengine_flow *flow));
u32 labengine_table_count(void);

/* rule */

struct flow_rule;

/* -EOPNOTSUPP: not TCP or UDP over IP, an unknown action, or out of a foreign device. */
int labengine_rule_read(struct flow_rule *rule, struct labengine_flow *flow);

/* offload */

int labengine_offload_setup_tc(struct net_device *dev, enum tc_setup_type type, void *data);

/* forward */

/* True: the engine took the frame from that port. False: it is for the router's stack. */
bool labengine_forward(struct sk_buff *skb, const struct labengine_port *from);

/* faults: field by field in labengine_faults.c */

enum labengine_stats_mode { LABENGINE_STATS_OK, LABENGINE_STATS_FROZEN, LABENGINE_STATS_MISSING };
enum labengine_corruption {
	LABENGINE_CORRUPT_OFF,
	LABENGINE_CORRUPT_ADDRESS,
	LABENGINE_CORRUPT_PORT,
};

struct labengine_faults {
	u32 refuse_errno;
	u32 table_limit;
	u32 blackhole_packets;
	u32 blackhole_flows;
	u32 blackhole_direction;
	u32 blackhole_after_packets;
	u64 blackhole_after_bytes;
	u32 blackhole_family;
	u32 blackhole_protocol;
	u32 blackhole_min_frame;
	u32 blackhole_port;	/* its index + 1 */
	u32 bind_direction;
	u32 corrupt_nat;
	u32 stats_mode;
	u32 forget_destroy;
	u32 tx_hang_recover;
	atomic_t warn_on_replace;
	atomic_t oops_on_replace;
	atomic_t oops_on_stats;
	atomic_t oops_in_worker;
	atomic_t panic_on_replace;
	atomic_t panic_on_bind;
	atomic_t stall_on_replace;
	atomic_t spin_on_replace;
};

extern struct labengine_faults labengine_faults;

void labengine_faults_debugfs(struct dentry *root);
/* One of a counted fault's occasions, or false when there are none left. */
bool labengine_fault_take(atomic_t *count);
/* from: where the frame came in; frame: its length on the wire in bytes, without FCS. */
bool labengine_fault_blackholes(const struct labengine_flow *flow,
				const struct labengine_port *from, unsigned int frame);
bool labengine_fault_binds(const struct labengine_flow *flow);
void labengine_fault_corrupt(const struct labengine_flow *flow, struct labengine_tuple *rewrite);

/* debugfs */

struct labengine_counters {
	atomic64_t hits;	/* packets that the engine forwarded */
	atomic64_t dropped;	/* packets that it lost on purpose */
	atomic64_t replace;
	atomic64_t refused;	/* REPLACE answered with an error other than EEXIST */
	atomic64_t destroy;
	atomic64_t stats;
	atomic64_t blocks;	/* flowtables' bindings to our ports now */
};

extern struct labengine_counters labengine_counters;

void labengine_debugfs_init(void);
void labengine_debugfs_exit(void);

#endif
