// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A port is two netdevs like a veth pair: the router side stays with the router, the wire
 * side moves into the namespace of the host that is plugged in. Only the router side is
 * an offloading device.
 */
#include <linux/err.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>

#include "labengine.h"

#define LABENGINE_MAX_MTU 9000
#define LABENGINE_FEATURES \
	(NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_RXCSUM | NETIF_F_HIGHDMA | NETIF_F_ALL_TSO)

/* The wire side knows its port; the router side's private area is the port. */
struct labengine_wire {
	struct labengine_port *port;
};

static struct labengine_port *labengine_wire_port(const struct net_device *wire)
{
	return ((struct labengine_wire *)netdev_priv(wire))->port;
}

static const struct net_device_ops labengine_router_ops;

struct labengine_port *labengine_port_of(const struct net_device *dev)
{
	return dev->netdev_ops == &labengine_router_ops ? netdev_priv(dev) : NULL;
}

void labengine_deliver(struct sk_buff *skb, struct net_device *to)
{
	unsigned int length = skb->len;

	if (!netif_carrier_ok(to)) {
		kfree_skb(skb);
		return;
	}
	if (dev_forward_skb(to, skb) == NET_RX_SUCCESS)
		dev_sw_netstats_rx_add(to, length);
}

static netdev_tx_t labengine_wire_xmit(struct sk_buff *skb, struct net_device *wire)
{
	struct labengine_port *port = labengine_wire_port(wire);

	dev_sw_netstats_tx_add(wire, 1, skb->len);
	if (!labengine_forward(skb, port))
		labengine_deliver(skb, port->router);
	return NETDEV_TX_OK;
}

static netdev_tx_t labengine_router_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct labengine_port *port = netdev_priv(dev);

	if (READ_ONCE(port->hung)) {
		/* The ring swallows this frame; the rest waits until the watchdog barks. */
		netif_stop_queue(dev);
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}
	dev_sw_netstats_tx_add(dev, 1, skb->len);
	labengine_deliver(skb, port->wire);
	return NETDEV_TX_OK;
}

void labengine_port_set_hung(struct labengine_port *port, bool hung)
{
	WRITE_ONCE(port->hung, hung);
	port->tx_timeouts = 0;
	if (!hung)
		netif_wake_queue(port->router);
}

static void labengine_router_tx_timeout(struct net_device *dev, unsigned int queue)
{
	struct labengine_port *port = netdev_priv(dev);
	u32 recover = READ_ONCE(labengine_faults.tx_hang_recover);

	port->tx_timeouts++;
	if (!READ_ONCE(port->hung) || (recover && port->tx_timeouts >= recover))
		labengine_port_set_hung(port, false);
}

/* There is a link when both ends are up. */
static int labengine_open(struct net_device *dev, struct net_device *peer)
{
	if (peer->flags & IFF_UP) {
		netif_carrier_on(dev);
		netif_carrier_on(peer);
	}
	netif_start_queue(dev);
	return 0;
}

static int labengine_stop(struct net_device *dev, struct net_device *peer)
{
	netif_stop_queue(dev);
	netif_carrier_off(dev);
	netif_carrier_off(peer);
	return 0;
}

static int labengine_router_open(struct net_device *dev)
{
	return labengine_open(dev, ((struct labengine_port *)netdev_priv(dev))->wire);
}

static int labengine_router_stop(struct net_device *dev)
{
	return labengine_stop(dev, ((struct labengine_port *)netdev_priv(dev))->wire);
}

static int labengine_wire_open(struct net_device *wire)
{
	return labengine_open(wire, labengine_wire_port(wire)->router);
}

static int labengine_wire_stop(struct net_device *wire)
{
	return labengine_stop(wire, labengine_wire_port(wire)->router);
}

/* `ip link set dev carrier off` on the wire side pulls the cable: both ends lose the link. */
static int labengine_wire_change_carrier(struct net_device *wire, bool carrier)
{
	struct net_device *router = labengine_wire_port(wire)->router;

	if (!carrier) {
		netif_carrier_off(wire);
		netif_carrier_off(router);
	} else if (router->flags & IFF_UP) {
		netif_carrier_on(router);
		netif_carrier_on(wire);
	}
	return 0;
}

static const struct net_device_ops labengine_router_ops = {
	.ndo_open = labengine_router_open,
	.ndo_stop = labengine_router_stop,
	.ndo_start_xmit = labengine_router_xmit,
	.ndo_tx_timeout = labengine_router_tx_timeout,
	.ndo_setup_tc = labengine_offload_setup_tc,
	.ndo_get_stats64 = dev_get_tstats64,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static const struct net_device_ops labengine_wire_ops = {
	.ndo_open = labengine_wire_open,
	.ndo_stop = labengine_wire_stop,
	.ndo_start_xmit = labengine_wire_xmit,
	.ndo_change_carrier = labengine_wire_change_carrier,
	.ndo_get_stats64 = dev_get_tstats64,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static void labengine_get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	bool wire = dev->netdev_ops == &labengine_wire_ops;

	strscpy(info->driver, wire ? LABENGINE "-wire" : LABENGINE, sizeof(info->driver));
	if (dev->dev.parent)
		strscpy(info->bus_info, dev_name(dev->dev.parent), sizeof(info->bus_info));
}

static int labengine_get_link_ksettings(struct net_device *dev, struct ethtool_link_ksettings *link)
{
	link->base.speed = SPEED_1000;
	link->base.duplex = DUPLEX_FULL;
	link->base.port = PORT_TP;
	return 0;
}

static const struct ethtool_ops labengine_ethtool_ops = {
	.get_drvinfo = labengine_get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_link_ksettings = labengine_get_link_ksettings,
};

static void labengine_setup(struct net_device *dev, const struct net_device_ops *ops,
			    unsigned int index, bool wire)
{
	/* Locally administered and the same in every run. */
	const u8 address[ETH_ALEN] = { 0x02, 'l', 'a', 'b', wire, index };

	dev->netdev_ops = ops;
	dev->ethtool_ops = &labengine_ethtool_ops;
	dev->max_mtu = LABENGINE_MAX_MTU;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->features = LABENGINE_FEATURES;
	dev->hw_features = LABENGINE_FEATURES;
	dev->vlan_features = LABENGINE_FEATURES;
	if (wire) {
		dev->priv_flags |= IFF_NO_QUEUE;
	} else {
		dev->features |= NETIF_F_HW_TC;
		dev->hw_features |= NETIF_F_HW_TC;
		dev->watchdog_timeo = 2 * HZ;
	}
	eth_hw_addr_set(dev, address);
}

struct labengine_port *labengine_port_create(struct device *parent, const char *name,
					     unsigned int index)
{
	struct net_device *router = alloc_etherdev(sizeof(struct labengine_port));
	struct net_device *wire = alloc_etherdev(sizeof(struct labengine_wire));
	struct labengine_port *port;
	int err = -ENOMEM;

	if (!router || !wire)
		goto free;
	port = netdev_priv(router);
	port->router = router;
	port->wire = wire;
	port->index = index;
	((struct labengine_wire *)netdev_priv(wire))->port = port;
	labengine_setup(router, &labengine_router_ops, index, false);
	labengine_setup(wire, &labengine_wire_ops, index, true);
	SET_NETDEV_DEV(router, parent);

	err = -EINVAL;
	if (strscpy(router->name, name, IFNAMSIZ) < 0 ||
	    snprintf(wire->name, IFNAMSIZ, "%s-wire", name) >= IFNAMSIZ)
		goto free;
	netif_carrier_off(router);
	netif_carrier_off(wire);
	rtnl_lock();
	err = register_netdevice(wire);
	if (!err) {
		err = register_netdevice(router);
		if (err)
			unregister_netdevice(wire);
	}
	rtnl_unlock();
	if (!err)
		return port;
free:
	if (wire)
		free_netdev(wire);
	if (router)
		free_netdev(router);
	return ERR_PTR(err);
}

void labengine_port_destroy(struct labengine_port *port)
{
	struct net_device *router = port->router;
	struct net_device *wire = port->wire;
	LIST_HEAD(both);

	labengine_table_remove_port(port);
	rtnl_lock();
	/* Together, so that neither hands frames to the other one any more. */
	unregister_netdevice_queue(wire, &both);
	unregister_netdevice_queue(router, &both);
	unregister_netdevice_many(&both);
	rtnl_unlock();
	free_netdev(wire);
	free_netdev(router);
}
