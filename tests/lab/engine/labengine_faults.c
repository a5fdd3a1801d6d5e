// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What can be broken on purpose: one file each below labengine/fault in debugfs, all of
 * them at once if wanted, 0 or the first word is off, and writing to `clear` resets all.
 *
 * refuse_errno             every REPLACE is answered with -N
 * table_limit              REPLACE is answered with -ENOSPC beyond N flows
 * blackhole_packets        percent of the engine's packets that are lost
 * blackhole_flows          percent of connections that the blackhole takes; the same ones
 *                          every time, in both directions
 *   Either of the two switches the blackhole on (alone, the other one means 100); these
 *   narrow it down:
 * blackhole_direction      both, original (as the connection was opened) or reply
 * blackhole_after_packets  only beyond the first N packets of a direction
 * blackhole_after_bytes    only beyond its first N bytes
 * blackhole_family         4 or 6
 * blackhole_protocol       6 (TCP) or 17 (UDP)
 * blackhole_min_frame      only frames of more than N bytes (Ethernet header to payload)
 * blackhole_port           only flows into or out of the router's port of that name, or none
 * bind_direction           both, original or reply: a new flow of the other direction is
 *                          known (UNB) but not bound, and the router's stack forwards it
 * corrupt_nat              off, address or port: a wrong one is written where NAT writes
 * stats_mode               ok, frozen (nothing moves) or missing (STATS fails)
 * forget_destroy           1: DESTROY is answered with success, and the flow stays
 * tx_hang                  the port's ring to the wire takes one more frame and hangs, until
 *                          another port's name, "none" or clear is written
 * tx_hang_recover          the driver's Nth TX timeout repairs the ring; 0: never
 * warn_on_replace          the next N REPLACE print a WARN
 * oops_on_replace          ... dereference NULL
 * panic_on_replace         ... panic
 * panic_on_bind            the next N flowtables bound to a port panic, trials as well
 * oops_on_stats            the next N STATS dereference NULL
 *   Both oopses die with the flowtable's lock: until the next boot, whoever takes one of
 *   its devices down or deletes it hangs, and holds up nf_tables or all of rtnetlink.
 * oops_in_worker           the same on the driver's own work, once: no lock is lost
 * stall_on_replace         the next REPLACE sleeps N seconds
 * spin_on_replace          the next REPLACE keeps its CPU busy for N seconds
 * register_dump            prints N lines of register noise at once
 */
#include <linux/random.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <net/ipv6.h>

#include "labengine.h"

struct labengine_faults labengine_faults;

bool labengine_fault_take(atomic_t *count)
{
	return atomic_dec_if_positive(count) >= 0;
}

static bool labengine_fault_concerns(const struct labengine_flow *flow,
				     const struct labengine_port *from, unsigned int frame)
{
	const struct labengine_faults *faults = &labengine_faults;

	if (faults->blackhole_direction && faults->blackhole_direction != flow->direction)
		return false;
	if (faults->blackhole_family && faults->blackhole_family != flow->match.family)
		return false;
	if (faults->blackhole_protocol && faults->blackhole_protocol != flow->match.protocol)
		return false;
	if (faults->blackhole_port && faults->blackhole_port != from->index + 1 &&
	    faults->blackhole_port != flow->out->index + 1)
		return false;
	return frame > faults->blackhole_min_frame &&
	       atomic64_read(&flow->packets) > faults->blackhole_after_packets &&
	       atomic64_read(&flow->bytes) > faults->blackhole_after_bytes;
}

bool labengine_fault_blackholes(const struct labengine_flow *flow,
				const struct labengine_port *from, unsigned int frame)
{
	u32 packets = READ_ONCE(labengine_faults.blackhole_packets);
	u32 flows = READ_ONCE(labengine_faults.blackhole_flows);

	if (!packets && !flows)
		return false;
	return labengine_fault_concerns(flow, from, frame) &&
	       (!flows || flow->hash % 100 < flows) &&
	       (!packets || get_random_u32_below(100) < packets);
}

bool labengine_fault_binds(const struct labengine_flow *flow)
{
	u32 direction = READ_ONCE(labengine_faults.bind_direction);

	return direction == LABENGINE_BOTH || direction == flow->direction;
}

void labengine_fault_corrupt(const struct labengine_flow *flow, struct labengine_tuple *rewrite)
{
	const struct labengine_tuple *match = &flow->match;

	switch (READ_ONCE(labengine_faults.corrupt_nat)) {
	case LABENGINE_CORRUPT_ADDRESS:
		if (!ipv6_addr_equal(&rewrite->source, &match->source))
			rewrite->source.s6_addr32[0] ^= htonl(1);
		if (!ipv6_addr_equal(&rewrite->destination, &match->destination))
			rewrite->destination.s6_addr32[0] ^= htonl(1);
		break;
	case LABENGINE_CORRUPT_PORT:
		/* NAT may keep the port's number, so the address tells whose it is. */
		if (!ipv6_addr_equal(&rewrite->source, &match->source))
			rewrite->source_port ^= htons(1);
		if (!ipv6_addr_equal(&rewrite->destination, &match->destination))
			rewrite->destination_port ^= htons(1);
		break;
	}
}

/* Linux 6.1 has this for files that are only read. */
#define LABENGINE_SHOW_AND_WRITE(name)						\
static int name##_open(struct inode *inode, struct file *file)			\
{										\
	return single_open(file, name##_show, inode->i_private);		\
}										\
static const struct file_operations name##_fops = {				\
	.owner = THIS_MODULE,							\
	.open = name##_open,							\
	.read = seq_read,							\
	.write = name##_write,							\
	.llseek = seq_lseek,							\
	.release = single_release,						\
}

/* A fault that takes one of some words. */

struct labengine_choice {
	const char *name;
	const char *words[4];
	u32 *value;
};

static const struct labengine_choice labengine_choices[] = {
	{ "blackhole_direction", { "both", "original", "reply" },
	  &labengine_faults.blackhole_direction },
	{ "bind_direction", { "both", "original", "reply" }, &labengine_faults.bind_direction },
	{ "corrupt_nat", { "off", "address", "port" }, &labengine_faults.corrupt_nat },
	{ "stats_mode", { "ok", "frozen", "missing" }, &labengine_faults.stats_mode },
};

/* Up to 31 characters of text from user space, without the white space around them. */
static char *labengine_get_word(const char __user *buffer, size_t size, char word[32])
{
	if (size > 31)
		return ERR_PTR(-EINVAL);
	if (copy_from_user(word, buffer, size))
		return ERR_PTR(-EFAULT);
	word[size] = '\0';
	return strim(word);
}

static int labengine_choice_show(struct seq_file *file, void *unused)
{
	const struct labengine_choice *choice = file->private;

	seq_printf(file, "%s\n", choice->words[*choice->value]);
	return 0;
}

static ssize_t labengine_choice_write(struct file *file, const char __user *buffer, size_t size,
				      loff_t *offset)
{
	const struct labengine_choice *choice = file_inode(file)->i_private;
	char buffered[32];
	char *word = labengine_get_word(buffer, size, buffered);
	int found;

	if (IS_ERR(word))
		return PTR_ERR(word);
	found = match_string(choice->words, ARRAY_SIZE(choice->words), word);
	if (found < 0)
		return found;
	WRITE_ONCE(*choice->value, found);
	return size;
}
LABENGINE_SHOW_AND_WRITE(labengine_choice);

/* tx_hang: lives in the ports, under the names that they have now. */

static int labengine_tx_hang_show_port(struct labengine_port *port, void *file)
{
	if (READ_ONCE(port->hung))
		seq_printf(file, "%s\n", port->router->name);
	return 0;
}

static int labengine_tx_hang_show(struct seq_file *file, void *unused)
{
	labengine_for_each_port(labengine_tx_hang_show_port, file);
	if (!file->count)
		seq_puts(file, "none\n");
	return 0;
}

static int labengine_port_is_named(struct labengine_port *port, void *name)
{
	return !strcmp(port->router->name, name);
}

static int labengine_tx_hang_set(struct labengine_port *port, void *name)
{
	labengine_port_set_hung(port, !strcmp(port->router->name, name));
	return 0;
}

static ssize_t labengine_tx_hang_write(struct file *file, const char __user *buffer, size_t size,
				       loff_t *offset)
{
	char buffered[32];
	char *name = labengine_get_word(buffer, size, buffered);

	if (IS_ERR(name))
		return PTR_ERR(name);
	if (strcmp(name, "none") && !labengine_for_each_port(labengine_port_is_named, name))
		return -ENODEV;
	labengine_for_each_port(labengine_tx_hang_set, name);
	return size;
}
LABENGINE_SHOW_AND_WRITE(labengine_tx_hang);

/* blackhole_port: remembers the port by its index, whatever it is called later. */

static int labengine_blackhole_port_index(struct labengine_port *port, void *name)
{
	return labengine_port_is_named(port, name) ? port->index + 1 : 0;
}

static int labengine_blackhole_show_port(struct labengine_port *port, void *file)
{
	if (labengine_faults.blackhole_port == port->index + 1)
		seq_printf(file, "%s\n", port->router->name);
	return 0;
}

static int labengine_blackhole_port_show(struct seq_file *file, void *unused)
{
	labengine_for_each_port(labengine_blackhole_show_port, file);
	if (!file->count)
		seq_puts(file, "none\n");
	return 0;
}

static ssize_t labengine_blackhole_port_write(struct file *file, const char __user *buffer,
					      size_t size, loff_t *offset)
{
	char buffered[32];
	char *name = labengine_get_word(buffer, size, buffered);
	u32 port;

	if (IS_ERR(name))
		return PTR_ERR(name);
	port = labengine_for_each_port(labengine_blackhole_port_index, name);
	if (!port && strcmp(name, "none"))
		return -ENODEV;
	WRITE_ONCE(labengine_faults.blackhole_port, port);
	return size;
}
LABENGINE_SHOW_AND_WRITE(labengine_blackhole_port);

static int labengine_clear(void *unused, u64 value)
{
	memset(&labengine_faults, 0, sizeof(labengine_faults));
	labengine_for_each_port(labengine_tx_hang_set, "none");
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(labengine_clear_fops, NULL, labengine_clear, "%llu\n");

static int labengine_register_dump(void *unused, u64 lines)
{
	u32 address;

	for (address = 0; lines--; address += 16) {
		pr_info(LABENGINE " 0x%06x: %08x %08x %08x %08x\n", address, get_random_u32(),
			get_random_u32(), get_random_u32(), get_random_u32());
		cond_resched();
	}
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(labengine_register_dump_fops, NULL, labengine_register_dump, "%llu\n");

static void labengine_faults_numbers(struct dentry *root)
{
	struct labengine_faults *faults = &labengine_faults;
	const struct { const char *name; u32 *value; } numbers[] = {
		{ "refuse_errno", &faults->refuse_errno },
		{ "table_limit", &faults->table_limit },
		{ "blackhole_packets", &faults->blackhole_packets },
		{ "blackhole_flows", &faults->blackhole_flows },
		{ "blackhole_after_packets", &faults->blackhole_after_packets },
		{ "blackhole_family", &faults->blackhole_family },
		{ "blackhole_protocol", &faults->blackhole_protocol },
		{ "blackhole_min_frame", &faults->blackhole_min_frame },
		{ "forget_destroy", &faults->forget_destroy },
		{ "tx_hang_recover", &faults->tx_hang_recover },
	};
	const struct { const char *name; atomic_t *count; } counts[] = {
		{ "warn_on_replace", &faults->warn_on_replace },
		{ "oops_on_replace", &faults->oops_on_replace },
		{ "oops_on_stats", &faults->oops_on_stats },
		{ "oops_in_worker", &faults->oops_in_worker },
		{ "panic_on_replace", &faults->panic_on_replace },
		{ "panic_on_bind", &faults->panic_on_bind },
		{ "stall_on_replace", &faults->stall_on_replace },
		{ "spin_on_replace", &faults->spin_on_replace },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		debugfs_create_u32(numbers[i].name, 0600, root, numbers[i].value);
	for (i = 0; i < ARRAY_SIZE(counts); i++)
		debugfs_create_atomic_t(counts[i].name, 0600, root, counts[i].count);
	debugfs_create_u64("blackhole_after_bytes", 0600, root, &faults->blackhole_after_bytes);
}

void labengine_faults_debugfs(struct dentry *root)
{
	int i;

	labengine_faults_numbers(root);
	for (i = 0; i < ARRAY_SIZE(labengine_choices); i++)
		debugfs_create_file(labengine_choices[i].name, 0600, root,
				    (void *)&labengine_choices[i], &labengine_choice_fops);
	debugfs_create_file("tx_hang", 0600, root, NULL, &labengine_tx_hang_fops);
	debugfs_create_file("blackhole_port", 0600, root, NULL, &labengine_blackhole_port_fops);
	debugfs_create_file("clear", 0200, root, NULL, &labengine_clear_fops);
	debugfs_create_file("register_dump", 0200, root, NULL, &labengine_register_dump_fops);
}
