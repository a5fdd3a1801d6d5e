// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The module: one platform device per port, so that a port has a parent and a driver in
 * sysfs and can be taken away and brought back through the driver's unbind and bind.
 */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/rtnetlink.h>

#include "labengine.h"
#include "labengine_compat.h"

static char *labengine_names[LABENGINE_MAX_PORTS] = { "lan1", "lan2", "wan" };
static int labengine_count = 3;
module_param_array_named(ports, labengine_names, charp, &labengine_count, 0444);
MODULE_PARM_DESC(ports, "names of the ports (default: lan1,lan2,wan)");

static struct platform_device *labengine_devices[LABENGINE_MAX_PORTS];
static struct labengine_port *labengine_ports[LABENGINE_MAX_PORTS];
static DEFINE_MUTEX(labengine_ports_lock);

int labengine_for_each_port(int (*visit)(struct labengine_port *port, void *context),
			    void *context)
{
	int err = 0;
	int i;

	mutex_lock(&labengine_ports_lock);
	for (i = 0; i < labengine_count && !err; i++)
		if (labengine_ports[i])
			err = visit(labengine_ports[i], context);
	mutex_unlock(&labengine_ports_lock);
	return err;
}

static int labengine_probe(struct platform_device *device)
{
	struct labengine_port *port;

	port = labengine_port_create(&device->dev, labengine_names[device->id], device->id);
	if (IS_ERR(port))
		return PTR_ERR(port);
	platform_set_drvdata(device, port);
	mutex_lock(&labengine_ports_lock);
	labengine_ports[device->id] = port;
	mutex_unlock(&labengine_ports_lock);
	return 0;
}

static void labengine_remove(struct platform_device *device)
{
	mutex_lock(&labengine_ports_lock);
	labengine_ports[device->id] = NULL;
	mutex_unlock(&labengine_ports_lock);
	labengine_port_destroy(platform_get_drvdata(device));
}

static struct platform_driver labengine_driver = {
	.probe = labengine_probe,
	.LABENGINE_REMOVE = labengine_remove,
	.driver = { .name = LABENGINE },
};

static void labengine_unregister(void)
{
	int i;

	for (i = labengine_count - 1; i >= 0; i--)
		platform_device_unregister(labengine_devices[i]);
	platform_driver_unregister(&labengine_driver);
}

static int __init labengine_register(void)
{
	int err = platform_driver_register(&labengine_driver);
	int i;

	if (err)
		return err;
	for (i = 0; i < labengine_count; i++) {
		struct platform_device *device;

		device = platform_device_register_simple(LABENGINE, i, NULL, 0);
		if (!IS_ERR(device) && !platform_get_drvdata(device)) {
			platform_device_unregister(device);
			device = ERR_PTR(-EEXIST);
		}
		if (IS_ERR(device)) {
			pr_err("cannot create port %s\n", labengine_names[i]);
			labengine_count = i;
			labengine_unregister();
			return PTR_ERR(device);
		}
		labengine_devices[i] = device;
	}
	return 0;
}

static int __init labengine_init(void)
{
	int err = labengine_table_init();

	if (err)
		return err;
	labengine_debugfs_init();
	err = labengine_register();
	if (err) {
		labengine_debugfs_exit();
		labengine_table_exit();
	}
	return err;
}

static void __exit labengine_exit(void)
{
	/* First, because its files reach into the ports. */
	labengine_debugfs_exit();
	labengine_unregister();
	labengine_table_exit();
}

module_init(labengine_init);
module_exit(labengine_exit);
MODULE_DESCRIPTION("Simulated packet engine for flowguard's lab");
MODULE_LICENSE("GPL");
