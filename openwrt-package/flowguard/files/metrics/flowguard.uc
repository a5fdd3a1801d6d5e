// SPDX-License-Identifier: GPL-2.0-or-later
// For prometheus-node-exporter-ucode. What is said is what `flowguard metrics` says; tests compare.

const RANKS = { none: 0, software: 1, hardware: 2 };
const status = ubus.call("flowguard", "status");

if (!status)
	return false;

function tell(name, help) {
	return gauge("flowguard_" + name, help);
}

function of_each_device(name, help, value) {
	let told = tell(name, help);
	for (let device in status.devices)
		told({ device: device.name, driver: device.driver ?? "" }, value(device));
}

tell("info", "version of flowguard, and the kernel")({
	version: status.version, kernel: status.boot.kernel ?? ""
}, 1);
tell("level", "highest level reached: 0 none, 1 software, 2 hardware")(null, RANKS[status.level]);
tell("wanted_level", "highest level wanted")(null, RANKS[status.wanted]);
const state = tell("state", "1 for what it is doing");
for (let name in [ "steady", "draining", "held_off", "canary", "stopped" ])
	state({ state: name }, status.state == name ? 1 : 0);
tell("suspended", "1 while somebody has suspended it")(null, status.suspended ? 1 : 0);
tell("problems", "things that are wrong just now")(null, length(status.problems));
const flows = tell("flows", "connections by path; refused: wanted in hardware, but not taken");
for (let path in [ "hardware", "software", "none", "refused" ])
	if (status.flows[path] != null)
		flows({ path }, status.flows[path]);
const sensor_up = tell("sensor_up", "1 while the sensor sees");
for (let name, health in status.sensors)
	sensor_up({ sensor: name }, health == "ok" ? 1 : 0);

of_each_device("device_level", "level reached: 0 none, 1 software, 2 hardware",
	device => RANKS[device.level]);
of_each_device("device_allowed_level", "highest level that it may have now",
	device => RANKS[device.allowed]);
of_each_device("device_strikes", "faults that are remembered against it",
	device => device.strikes);
of_each_device("device_held_off_seconds", "until it is tried again",
	device => device.held_off_until != null ? max(0, device.held_off_until - status.time) : 0);

const control = status.control;
tell("evidence", "e-value of a fault of the offloading")(null, control.e_value);
tell("evidence_needed", "e-value that is acted on")(null, control.acts_at);
const connections = tell("arm_connections", "connections judged by the present comparison");
for (let arm in [ "treated", "control" ]) {
	connections({ arm, outcome: "ok" }, control[arm].n - control[arm].failed);
	connections({ arm, outcome: "failed" }, control[arm].failed);
}
tell("boot_unplanned", "1 after a reboot that nobody planned")(null, status.boot.unplanned ? 1 : 0);
