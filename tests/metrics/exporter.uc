// SPDX-License-Identifier: GPL-2.0-or-later
// What prometheus-node-exporter-ucode gives to a collector, as far as flowguard's uses it: the
// collector's path is the first argument, and the second what ubus would answer, as JSON.

function gauge(name, help) {
	let declared = false;

	return function(labels, value) {
		if (!declared)
			printf("# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
		declared = true;

		const told = map(keys(labels ?? {}), label =>
			sprintf('%s="%s"', label, replace(replace(replace(labels[label],
				"\\", "\\\\"), '"', '\\"'), "\n", "\\n")));
		print(name, length(told) ? "{" + join(",", told) + "}" : "", " ", value, "\n");
	};
}

const collector = loadfile(ARGV[0], { strict_declarations: true, raw_mode: true });
const ubus = { call: (path, method) => path == "flowguard" && method == "status" ? json(ARGV[1]) : null };

if (call(collector, null, { ubus, gauge }) === false)
	exit(1);
