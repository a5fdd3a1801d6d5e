// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ppe0/entries and ppe0/bind print the table in the format of MediaTek's driver
 * (drivers/net/ethernet/mediatek/mtk_ppe_debugfs.c, Linux 6.4 and later), so that what
 * reads a real router's engine can read this one. labengine/ has the counters, `flush`
 * (forget every flow, as a reset of the engine would) and `printk`: lines written there
 * appear in the kernel log as the kernel's own, after an optional "<level>".
 */
#include <linux/ctype.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "labengine.h"

#define LABENGINE_PRINTK_MAX 65536

/* The first info block of an entry: MTK_FOE_IB1_* in mtk_ppe.h. */
#define LABENGINE_IB1_UDP BIT(30)
#define LABENGINE_IB1_UNBOUND (1 << 28)
#define LABENGINE_IB1_BOUND (2 << 28)
#define LABENGINE_IB1_IPV6_5T (5 << 25)
#define LABENGINE_IB1_TTL BIT(24)
/* In the second one: the port that the frame leaves on. */
#define LABENGINE_IB2_PORT_SHIFT 5

struct labengine_counters labengine_counters;

static struct dentry *labengine_root;
static struct dentry *labengine_ppe;

static void labengine_show_tuple(struct seq_file *file, const char *name,
				 const struct labengine_tuple *tuple)
{
	const char *format = tuple->family == 4 ? " %s=%pI4:%d->%pI4:%d" : " %s=%pI6:%d->%pI6:%d";

	seq_printf(file, format, name, &tuple->source, ntohs(tuple->source_port),
		   &tuple->destination, ntohs(tuple->destination_port));
}

static u32 labengine_ib1(const struct labengine_flow *flow)
{
	u32 family = flow->match.family == 4 ? 0 : LABENGINE_IB1_IPV6_5T;

	return family | (flow->match.protocol == IPPROTO_UDP ? LABENGINE_IB1_UDP : 0);
}

static void labengine_show_match(struct seq_file *file, const char *state,
				 const struct labengine_flow *flow)
{
	seq_printf(file, "%05x %s %7s", flow->slot, state,
		   flow->match.family == 4 ? "IPv4 5T" : "IPv6 5T");
	labengine_show_tuple(file, "orig", &flow->match);
}

static void labengine_show_bound(struct seq_file *file, const struct labengine_flow *flow)
{
	bool ipv4 = flow->match.family == 4;
	u32 ib1 = labengine_ib1(flow) | LABENGINE_IB1_BOUND | LABENGINE_IB1_TTL;
	u32 ib2 = flow->out->index << LABENGINE_IB2_PORT_SHIFT;

	labengine_show_match(file, "BND", flow);
	/* The engine of MediaTek has no NAT for IPv6 and prints none. */
	if (ipv4)
		labengine_show_tuple(file, "new", &flow->rewrite);
	seq_printf(file, " eth=%pM->%pM etype=%04x vlan=%d,%d ib1=%08x ib2=%08x",
		   flow->source, flow->destination, ipv4 ? ETH_P_IP : ETH_P_IPV6, 0, 0, ib1, ib2);
	seq_printf(file, " packets=%llu bytes=%llu\n", (u64)atomic64_read(&flow->packets),
		   (u64)atomic64_read(&flow->bytes));
}

/* The engine knows no more than what it saw; the rest of the entry is empty. */
static void labengine_show_unbound(struct seq_file *file, const struct labengine_flow *flow)
{
	static const u8 none[ETH_ALEN];

	labengine_show_match(file, "UNB", flow);
	if (flow->match.family == 4)
		seq_puts(file, " new=0.0.0.0:0->0.0.0.0:0");
	seq_printf(file, " eth=%pM->%pM etype=0000 vlan=0,0 ib1=%08x ib2=00000000\n", none, none,
		   labengine_ib1(flow) | LABENGINE_IB1_UNBOUND);
}

static void labengine_show_flow(struct seq_file *file, const struct labengine_flow *flow)
{
	if (flow->bound)
		labengine_show_bound(file, flow);
	else
		labengine_show_unbound(file, flow);
}

static void labengine_show_only_bound(struct seq_file *file, const struct labengine_flow *flow)
{
	if (flow->bound)
		labengine_show_bound(file, flow);
}

static int labengine_entries_show(struct seq_file *file, void *unused)
{
	return labengine_table_show(file, labengine_show_flow);
}
DEFINE_SHOW_ATTRIBUTE(labengine_entries);

static int labengine_bind_show(struct seq_file *file, void *unused)
{
	return labengine_table_show(file, labengine_show_only_bound);
}
DEFINE_SHOW_ATTRIBUTE(labengine_bind);

static int labengine_counter_get(void *counter, u64 *value)
{
	*value = atomic64_read(counter);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(labengine_counter_fops, labengine_counter_get, NULL, "%llu\n");

static int labengine_flows_get(void *unused, u64 *value)
{
	*value = labengine_table_count();
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(labengine_flows_fops, labengine_flows_get, NULL, "%llu\n");

static int labengine_flush(void *unused, u64 value)
{
	labengine_table_flush();
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(labengine_flush_fops, NULL, labengine_flush, "%llu\n");

static void labengine_print_line(const char *line)
{
	char level[] = KERN_INFO;

	if (line[0] == '<' && isdigit(line[1]) && line[2] == '>') {
		level[1] = line[1];
		line += 3;
	}
	printk("%s%s\n", level, line);
}

static ssize_t labengine_printk_write(struct file *file, const char __user *buffer, size_t size,
				      loff_t *offset)
{
	char *text, *rest, *line;

	if (size > LABENGINE_PRINTK_MAX)
		return -EINVAL;
	text = memdup_user_nul(buffer, size);
	if (IS_ERR(text))
		return PTR_ERR(text);
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		/* The text's end is not an empty line. */
		if (rest || *line)
			labengine_print_line(line);
		cond_resched();
	}
	kfree(text);
	return size;
}

static const struct file_operations labengine_printk_fops = {
	.owner = THIS_MODULE,
	.write = labengine_printk_write,
};

void labengine_debugfs_init(void)
{
	struct labengine_counters *counters = &labengine_counters;
	const struct { const char *name; atomic64_t *counter; } files[] = {
		{ "hits", &counters->hits },
		{ "dropped", &counters->dropped },
		{ "replace", &counters->replace },
		{ "refused", &counters->refused },
		{ "destroy", &counters->destroy },
		{ "stats", &counters->stats },
		{ "blocks", &counters->blocks },
	};
	int i;

	labengine_ppe = debugfs_create_dir("ppe0", NULL);
	debugfs_create_file("entries", 0444, labengine_ppe, NULL, &labengine_entries_fops);
	debugfs_create_file("bind", 0444, labengine_ppe, NULL, &labengine_bind_fops);

	labengine_root = debugfs_create_dir(LABENGINE, NULL);
	for (i = 0; i < ARRAY_SIZE(files); i++)
		debugfs_create_file(files[i].name, 0444, labengine_root, files[i].counter,
				    &labengine_counter_fops);
	debugfs_create_file("flows", 0444, labengine_root, NULL, &labengine_flows_fops);
	debugfs_create_file("flush", 0200, labengine_root, NULL, &labengine_flush_fops);
	debugfs_create_file("printk", 0200, labengine_root, NULL, &labengine_printk_fops);
	labengine_faults_debugfs(debugfs_create_dir("fault", labengine_root));
}

void labengine_debugfs_exit(void)
{
	debugfs_remove(labengine_root);
	debugfs_remove(labengine_ppe);
}
