-- SPDX-License-Identifier: GPL-2.0-or-later
-- What prometheus-node-exporter-lua gives to a collector, as far as flowguard's uses it: the
-- collector's path is the argument, and `STATUS` what ubus would answer.

package.preload["ubus"] = function()
	return {
		connect = function()
			return {
				call = function(bus, path, method, arguments)
					assert(path == "flowguard" and method == "status")
					return STATUS
				end,
				close = function() end,
			}
		end,
	}
end

function metric(name, kind)
	print("# TYPE " .. name .. " " .. kind)
	return function(labels, value)
		local told = {}
		for label, text in pairs(labels or {}) do
			table.insert(told, label .. '="' .. text .. '"')
		end
		local all = #told > 0 and "{" .. table.concat(told, ",") .. "}" or ""
		print(name .. all .. " " .. value)
	end
end

dofile(arg[1]).scrape()
