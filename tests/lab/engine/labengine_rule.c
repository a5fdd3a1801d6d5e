// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the kernel asks for, as one of our flows: the rule's match is the tuple on this
 * side, its MANGLE actions make the one on the other side, REDIRECT names the port.
 */
#include <linux/etherdevice.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/flow_offload.h>

#include "labengine.h"

/* The frame's start as the kernel's MANGLE actions see it: they address these headers. */
struct labengine_headers {
	union {
		struct ethhdr eth;
		u8 eth_words[16];
	};
	union {
		struct iphdr ipv4;
		struct ipv6hdr ipv6;
	};
	__be16 ports[2];
};

static int labengine_rule_match(const struct flow_rule *rule, struct labengine_tuple *match)
{
	struct flow_match_control control;
	struct flow_match_basic basic;
	struct flow_match_ports ports;

	if (!flow_rule_match_key(rule, FLOW_DISSECTOR_KEY_CONTROL) ||
	    !flow_rule_match_key(rule, FLOW_DISSECTOR_KEY_BASIC) ||
	    !flow_rule_match_key(rule, FLOW_DISSECTOR_KEY_PORTS))
		return -EOPNOTSUPP;
	flow_rule_match_control(rule, &control);
	flow_rule_match_basic(rule, &basic);
	flow_rule_match_ports(rule, &ports);

	match->protocol = basic.key->ip_proto;
	if (match->protocol != IPPROTO_TCP && match->protocol != IPPROTO_UDP)
		return -EOPNOTSUPP;
	match->source_port = ports.key->src;
	match->destination_port = ports.key->dst;

	if (control.key->addr_type == FLOW_DISSECTOR_KEY_IPV4_ADDRS) {
		struct flow_match_ipv4_addrs addresses;

		flow_rule_match_ipv4_addrs(rule, &addresses);
		match->family = 4;
		match->source.s6_addr32[0] = addresses.key->src;
		match->destination.s6_addr32[0] = addresses.key->dst;
	} else if (control.key->addr_type == FLOW_DISSECTOR_KEY_IPV6_ADDRS) {
		struct flow_match_ipv6_addrs addresses;

		flow_rule_match_ipv6_addrs(rule, &addresses);
		match->family = 6;
		match->source = addresses.key->src;
		match->destination = addresses.key->dst;
	} else {
		return -EOPNOTSUPP;
	}
	return 0;
}

static void labengine_headers_fill(struct labengine_headers *headers,
				   const struct labengine_tuple *tuple)
{
	memset(headers, 0, sizeof(*headers));
	if (tuple->family == 4) {
		headers->ipv4.saddr = tuple->source.s6_addr32[0];
		headers->ipv4.daddr = tuple->destination.s6_addr32[0];
	} else {
		headers->ipv6.saddr = tuple->source;
		headers->ipv6.daddr = tuple->destination;
	}
	headers->ports[0] = tuple->source_port;
	headers->ports[1] = tuple->destination_port;
}

static void labengine_headers_read(const struct labengine_headers *headers,
				   struct labengine_flow *flow)
{
	struct labengine_tuple *rewrite = &flow->rewrite;

	*rewrite = flow->match;
	if (rewrite->family == 4) {
		rewrite->source.s6_addr32[0] = headers->ipv4.saddr;
		rewrite->destination.s6_addr32[0] = headers->ipv4.daddr;
	} else {
		rewrite->source = headers->ipv6.saddr;
		rewrite->destination = headers->ipv6.daddr;
	}
	rewrite->source_port = headers->ports[0];
	rewrite->destination_port = headers->ports[1];
	ether_addr_copy(flow->source, headers->eth.h_source);
	ether_addr_copy(flow->destination, headers->eth.h_dest);
}

/* One MANGLE replaces the bits of a 32-bit word that its mask leaves out. */
static int labengine_rule_mangle(struct labengine_headers *headers, const struct flow_action_entry *action)
{
	u32 offset = action->mangle.offset;
	size_t size;
	void *start;
	u32 word;

	switch (action->mangle.htype) {
	case FLOW_ACT_MANGLE_HDR_TYPE_ETH:
		start = headers->eth_words;
		size = sizeof(headers->eth_words);
		break;
	case FLOW_ACT_MANGLE_HDR_TYPE_IP4:
		start = &headers->ipv4;
		size = sizeof(headers->ipv4);
		break;
	case FLOW_ACT_MANGLE_HDR_TYPE_IP6:
		start = &headers->ipv6;
		size = sizeof(headers->ipv6);
		break;
	case FLOW_ACT_MANGLE_HDR_TYPE_TCP:
	case FLOW_ACT_MANGLE_HDR_TYPE_UDP:
		start = headers->ports;
		size = sizeof(headers->ports);
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (offset > size - sizeof(word))
		return -EOPNOTSUPP;
	memcpy(&word, start + offset, sizeof(word));
	word = (word & action->mangle.mask) | (action->mangle.val & ~action->mangle.mask);
	memcpy(start + offset, &word, sizeof(word));
	return 0;
}

static int labengine_rule_actions(struct flow_rule *rule, struct labengine_flow *flow)
{
	struct labengine_headers headers;
	struct flow_action_entry *action;
	int err;
	int i;

	labengine_headers_fill(&headers, &flow->match);
	flow_action_for_each(i, action, &rule->action) {
		switch (action->id) {
		case FLOW_ACTION_MANGLE:
			err = labengine_rule_mangle(&headers, action);
			if (err)
				return err;
			break;
		case FLOW_ACTION_CSUM:
			break;
		case FLOW_ACTION_REDIRECT:
			flow->out = labengine_port_of(action->dev);
			break;
		default:
			return -EOPNOTSUPP;
		}
	}
	labengine_headers_read(&headers, flow);
	if (!flow->out)
		return -EOPNOTSUPP;
	if (!is_valid_ether_addr(flow->source) || !is_valid_ether_addr(flow->destination))
		return -EINVAL;
	return 0;
}

int labengine_rule_read(struct flow_rule *rule, struct labengine_flow *flow)
{
	int err = labengine_rule_match(rule, &flow->match);

	return err ? err : labengine_rule_actions(rule, flow);
}
