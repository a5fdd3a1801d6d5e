// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The fast path: a frame from the wire that belongs to a flow leaves on the wire of
 * another port, rewritten. Everything unusual is for the router's stack, as in hardware:
 * options, fragments, expiring packets, connections that begin or end.
 *
 * Hosts send what veth would carry: checksums that are not filled in yet
 * (CHECKSUM_PARTIAL) and segments that are not cut yet (GSO). Both are kept so.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/checksum.h>
#include <net/ip.h>

#include "labengine.h"

struct labengine_packet {
	struct labengine_tuple tuple;
	unsigned int transport;	/* offset of the TCP or UDP header */
	unsigned int payload;	/* offset of what follows it */
};

static bool labengine_parse_ipv4(const struct sk_buff *skb, struct labengine_packet *packet)
{
	const struct iphdr *ip;
	struct iphdr buffer;

	ip = skb_header_pointer(skb, ETH_HLEN, sizeof(buffer), &buffer);
	if (!ip || ip->version != 4 || ip->ihl != 5 || ip_is_fragment(ip) || ip->ttl <= 1)
		return false;
	packet->tuple.family = 4;
	packet->tuple.protocol = ip->protocol;
	packet->tuple.source.s6_addr32[0] = ip->saddr;
	packet->tuple.destination.s6_addr32[0] = ip->daddr;
	packet->transport = ETH_HLEN + sizeof(*ip);
	return true;
}

static bool labengine_parse_ipv6(const struct sk_buff *skb, struct labengine_packet *packet)
{
	const struct ipv6hdr *ip;
	struct ipv6hdr buffer;

	ip = skb_header_pointer(skb, ETH_HLEN, sizeof(buffer), &buffer);
	if (!ip || ip->version != 6 || ip->hop_limit <= 1)
		return false;
	packet->tuple.family = 6;
	packet->tuple.protocol = ip->nexthdr;
	packet->tuple.source = ip->saddr;
	packet->tuple.destination = ip->daddr;
	packet->transport = ETH_HLEN + sizeof(*ip);
	return true;
}

static bool labengine_parse_tcp(const struct sk_buff *skb, struct labengine_packet *packet)
{
	const struct tcphdr *tcp;
	struct tcphdr buffer;

	tcp = skb_header_pointer(skb, packet->transport, sizeof(buffer), &buffer);
	if (!tcp || tcp->syn || tcp->fin || tcp->rst)
		return false;
	packet->tuple.source_port = tcp->source;
	packet->tuple.destination_port = tcp->dest;
	packet->payload = packet->transport + tcp->doff * 4;
	return true;
}

static bool labengine_parse_udp(const struct sk_buff *skb, struct labengine_packet *packet)
{
	const struct udphdr *udp;
	struct udphdr buffer;

	udp = skb_header_pointer(skb, packet->transport, sizeof(buffer), &buffer);
	if (!udp)
		return false;
	packet->tuple.source_port = udp->source;
	packet->tuple.destination_port = udp->dest;
	packet->payload = packet->transport + sizeof(*udp);
	return true;
}

static bool labengine_parse(const struct sk_buff *skb, struct labengine_packet *packet)
{
	bool known = false;

	memset(packet, 0, sizeof(*packet));
	if (skb_vlan_tag_present(skb))
		return false;
	switch (((const struct ethhdr *)skb->data)->h_proto) {
	case htons(ETH_P_IP):
		known = labengine_parse_ipv4(skb, packet);
		break;
	case htons(ETH_P_IPV6):
		known = labengine_parse_ipv6(skb, packet);
		break;
	}
	if (!known)
		return false;
	switch (packet->tuple.protocol) {
	case IPPROTO_TCP:
		return labengine_parse_tcp(skb, packet);
	case IPPROTO_UDP:
		return labengine_parse_udp(skb, packet);
	default:
		return false;
	}
}

/* Where the transport checksum is; NULL for UDP without one. */
static __sum16 *labengine_checksum(struct sk_buff *skb, const struct labengine_packet *packet)
{
	void *transport = skb->data + packet->transport;
	struct udphdr *udp = transport;

	if (packet->tuple.protocol == IPPROTO_TCP)
		return &((struct tcphdr *)transport)->check;
	return udp->check || skb->ip_summed == CHECKSUM_PARTIAL ? &udp->check : NULL;
}

static void labengine_rewrite_ipv4(struct sk_buff *skb, __sum16 *check,
				   const struct labengine_tuple *to)
{
	struct iphdr *ip = (struct iphdr *)(skb->data + ETH_HLEN);
	__be32 source = to->source.s6_addr32[0];
	__be32 destination = to->destination.s6_addr32[0];

	if (check) {
		inet_proto_csum_replace4(check, skb, ip->saddr, source, true);
		inet_proto_csum_replace4(check, skb, ip->daddr, destination, true);
	}
	csum_replace4(&ip->check, ip->saddr, source);
	csum_replace4(&ip->check, ip->daddr, destination);
	ip->saddr = source;
	ip->daddr = destination;
	ip_decrease_ttl(ip);
}

static void labengine_rewrite_ipv6(struct sk_buff *skb, __sum16 *check,
				   const struct labengine_tuple *to)
{
	struct ipv6hdr *ip = (struct ipv6hdr *)(skb->data + ETH_HLEN);

	if (check) {
		inet_proto_csum_replace16(check, skb, ip->saddr.s6_addr32,
					  to->source.s6_addr32, true);
		inet_proto_csum_replace16(check, skb, ip->daddr.s6_addr32,
					  to->destination.s6_addr32, true);
	}
	ip->saddr = to->source;
	ip->daddr = to->destination;
	ip->hop_limit--;
}

static void labengine_rewrite_ports(struct sk_buff *skb, __sum16 *check, __be16 *ports,
				    const struct labengine_tuple *to)
{
	if (check) {
		inet_proto_csum_replace2(check, skb, ports[0], to->source_port, false);
		inet_proto_csum_replace2(check, skb, ports[1], to->destination_port, false);
	}
	ports[0] = to->source_port;
	ports[1] = to->destination_port;
}

static void labengine_rewrite(struct sk_buff *skb, const struct labengine_packet *packet,
			      const struct labengine_flow *flow)
{
	__sum16 *check = labengine_checksum(skb, packet);
	struct ethhdr *eth = (struct ethhdr *)skb->data;
	struct labengine_tuple to = flow->rewrite;

	labengine_fault_corrupt(flow, &to);
	if (to.family == 4)
		labengine_rewrite_ipv4(skb, check, &to);
	else
		labengine_rewrite_ipv6(skb, check, &to);
	labengine_rewrite_ports(skb, check, (__be16 *)(skb->data + packet->transport), &to);
	/* RFC 768: zero would mean that there is no checksum. */
	if (check && to.protocol == IPPROTO_UDP && !*check)
		*check = CSUM_MANGLED_0;
	ether_addr_copy(eth->h_source, flow->source);
	ether_addr_copy(eth->h_dest, flow->destination);
}

/* Length of one frame on the wire: of one segment, when they are not cut yet. */
static unsigned int labengine_frame(const struct sk_buff *skb, const struct labengine_packet *packet)
{
	return skb_is_gso(skb) ? packet->payload + skb_shinfo(skb)->gso_size : skb->len;
}

static unsigned int labengine_frames(const struct sk_buff *skb)
{
	return skb_is_gso(skb) ? max_t(unsigned int, skb_shinfo(skb)->gso_segs, 1) : 1;
}

static void labengine_account(struct labengine_flow *flow, const struct sk_buff *skb)
{
	atomic64_add(labengine_frames(skb), &flow->packets);
	atomic64_add(skb->len, &flow->bytes);
	WRITE_ONCE(flow->used, jiffies);
}

bool labengine_forward(struct sk_buff *skb, const struct labengine_port *from)
{
	struct labengine_packet packet;
	struct labengine_flow *flow;
	unsigned int frame;
	bool taken = false;

	if (!labengine_parse(skb, &packet))
		return false;
	frame = labengine_frame(skb, &packet);
	rcu_read_lock();
	flow = labengine_table_find(&packet.tuple);
	if (!flow || !flow->bound || frame > READ_ONCE(flow->out->router->mtu) + ETH_HLEN)
		goto unlock;
	taken = true;
	/* Before the blackhole, as in hardware: what is lost behind the table was counted. */
	labengine_account(flow, skb);
	if (labengine_fault_blackholes(flow, from, frame) ||
	    skb_ensure_writable(skb, packet.payload)) {
		atomic64_add(labengine_frames(skb), &labengine_counters.dropped);
		kfree_skb(skb);
		goto unlock;
	}
	labengine_rewrite(skb, &packet, flow);
	atomic64_add(labengine_frames(skb), &labengine_counters.hits);
	labengine_deliver(skb, flow->out->wire);
unlock:
	rcu_read_unlock();
	return taken;
}
