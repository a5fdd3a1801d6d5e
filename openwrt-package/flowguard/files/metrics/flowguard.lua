-- SPDX-License-Identifier: GPL-2.0-or-later
-- For prometheus-node-exporter-lua. What is said is what `flowguard metrics` says; tests compare.

local ubus = require "ubus"

local RANKS = { none = 0, software = 1, hardware = 2 }
local STATES = { "steady", "draining", "held_off", "canary", "stopped" }
local PATHS = { "hardware", "software", "none", "refused" }

-- The exporter writes labels as they are.
local function escaped(text)
	return (tostring(text or ""):gsub('[\\"\n]', { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }))
end

local function gauge(name)
	return metric("flowguard_" .. name, "gauge")
end

local function overall(status)
	gauge("info")({ version = escaped(status.version), kernel = escaped(status.boot.kernel) }, 1)
	gauge("level")(nil, RANKS[status.level])
	gauge("wanted_level")(nil, RANKS[status.wanted])
	local state = gauge("state")
	for _, name in ipairs(STATES) do
		state({ state = name }, status.state == name and 1 or 0)
	end
	gauge("suspended")(nil, status.suspended and 1 or 0)
	gauge("problems")(nil, #status.problems)
	local flows = gauge("flows")
	for _, path in ipairs(PATHS) do
		if status.flows[path] then
			flows({ path = path }, status.flows[path])
		end
	end
	local sensor_up = gauge("sensor_up")
	for name, health in pairs(status.sensors) do
		sensor_up({ sensor = escaped(name) }, health == "ok" and 1 or 0)
	end
end

local function of_each_device(status, name, value)
	local tell = gauge(name)
	for _, device in ipairs(status.devices) do
		tell({ device = escaped(device.name), driver = escaped(device.driver) }, value(device))
	end
end

local function devices(status)
	of_each_device(status, "device_level", function(device) return RANKS[device.level] end)
	of_each_device(status, "device_allowed_level", function(device) return RANKS[device.allowed] end)
	of_each_device(status, "device_strikes", function(device) return device.strikes end)
	of_each_device(status, "device_held_off_seconds", function(device)
		return device.held_off_until and math.max(0, device.held_off_until - status.time) or 0
	end)
end

local function evidence(status)
	local control = status.control
	gauge("evidence")(nil, control.e_value)
	gauge("evidence_needed")(nil, control.acts_at)
	local connections = gauge("arm_connections")
	for _, arm in ipairs({ "treated", "control" }) do
		connections({ arm = arm, outcome = "ok" }, control[arm].n - control[arm].failed)
		connections({ arm = arm, outcome = "failed" }, control[arm].failed)
	end
	gauge("boot_unplanned")(nil, status.boot.unplanned and 1 or 0)
end

local function scrape()
	local bus = ubus.connect()
	local status = bus and bus:call("flowguard", "status", {})
	if bus then
		bus:close()
	end
	if not status then
		error("flowguard does not answer")
	end
	overall(status)
	devices(status)
	evidence(status)
end

return { scrape = scrape }
