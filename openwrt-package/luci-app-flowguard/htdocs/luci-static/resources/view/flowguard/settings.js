// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
'require view';
'require form';
'require uci';
'require flowguard.daemon as daemon';
'require flowguard.kinds as kinds';
'require flowguard.words as words';

// What the daemon takes for a switch besides 1 and 0.
const SWITCHES = { on: '1', true: '1', yes: '1', enabled: '1', off: '0', false: '0', no: '0', disabled: '0' };

/** The options of one section; every one may be left empty, and then has its default. */
class Options {
	constructor(section) {
		this.section = section;
	}

	within(tab) {
		this.tab = tab;
		return this;
	}

	add(widget, name, title, help) {
		const option = this.section.taboption(this.tab, widget, name, title, help);
		option.optional = true;
		option.modalonly = this.inWindow;
		return option;
	}

	flag(name, title, initial, help) {
		const option = this.add(form.Flag, name, title, help);
		option.default = initial;
		option.load = function(section) {
			const value = uci.get('flowguard', section, name);
			return SWITCHES[value] ?? value;
		};
		return option;
	}

	/** One of `values`: an object of names for people. Without `initial` it may be any. */
	choice(name, title, values, initial, help) {
		const option = this.add(form.ListValue, name, title, help);
		for (const value in values)
			option.value(value, values[value]);
		option.default = initial;
		option.optional = !initial;
		option.write = function(section, value) {
			// The default is left out, so that it may change with a later version.
			return uci.set('flowguard', section, name, value === initial ? null : value);
		};
		return option;
	}

	value(name, title, kind, initial, help) {
		const option = this.add(form.Value, name, title, help);
		option.placeholder = initial;
		option.validate = kind;
		return option;
	}

	list(name, title, kind, help) {
		const option = this.add(form.DynamicList, name, title, help);
		option.validate = kind;
		return option;
	}
}

function general(options, devices) {
	options.within('general');
	options.flag('enabled', _('Enable'), '0', _('Run the service.'));
	options.flag('adopt', _('Adopt at first boot'), '0',
		_('OpenWrt: `flowguard adopt` when the package is installed, and at an image\'s first boot.'));
	options.choice('level', _('Level'), words.levels(), 'hardware', _('The highest level wanted.'));
	options.choice('mode', _('Mode'), { 'protect': _('Protect'), 'detect-only': _('Detect only') },
		'protect', _('Protect; or detect-only: decide and report, change nothing.'));
	const device = options.list('device', _('Devices'), kinds.deviceName,
		_('Take part in offloading; none listed: those below the interfaces in use.'));
	for (const name of devices)
		device.value(name);
	options.choice('log_level', _('Log level'), {
		debug: _('Debug'), info: _('Info'), warning: _('Warning'), error: _('Error')
	}, 'info', _('The least severe messages that are logged.'));
}

function flows(options) {
	options.within('flows');
	options.flag('udp', _('UDP'), '1', _('Offload UDP, not only TCP.'));
	options.flag('ipv6', _('IPv6'), '1', _('Offload IPv6, not only IPv4.'));
	options.value('min_packets', _('Packets before'), kinds.integer(0, 10000), '0',
		_('Packets, both ways, before a flow is offloaded; spares the hardware short flows.'));
	options.value('flow_timeout', _('Flow timeout'), kinds.duration(1, 300), '10',
		_('An idle flow leaves the hardware after this; shorter drains quicker.'));
}

function comparison(options) {
	options.within('comparison');
	options.value('control_share', _('Control share'), kinds.share, '16',
		_('One in so many flows goes one level lower, for comparison; 0: none.'));
}

function waiting(options) {
	const DAY = kinds.DAY;

	options.within('waiting');
	options.value('drain_limit', _('Drain limit'), kinds.duration(1, 3600), '1m',
		_('A drain that takes longer is reported, and the flow timeouts are put back.'));
	options.value('boot_delay', _('Boot delay'), kinds.duration(0, 3600), '30',
		_('Uptime before hardware is first used.'));
	options.value('hold_off', _('Hold-off'), kinds.duration(1, 7 * DAY), '10m',
		_('First wait before stepping up after a fault.'));
	options.value('hold_off_limit', _('Longest hold-off'), kinds.duration(1, 30 * DAY), '1d',
		_('Longest wait; it doubles with every further fault.'));
	options.value('canary_soak', _('Canary soak'), kinds.duration(1, 7 * DAY), '1h',
		_('After a hold-off 1/16, then 1/4 of the flows try hardware, each for at least this long.'));
	options.value('forgive_after', _('Forgive after'), kinds.duration(60, 365 * DAY), '7d',
		_('So much time on hardware without a fault makes good for one.'));
}

function faults(options) {
	options.within('faults');
	options.value('weak_count', _('Weak faults'), kinds.integer(1, 1000), '3',
		_('So many weak faults count as a driver fault.'));
	options.value('weak_window', _('Weak window'), kinds.duration(1, kinds.DAY), '10m',
		_('The time within which weak faults add up.'));
	options.value('settle', _('Settle'), kinds.duration(0, 3600), '30',
		_('Faults so soon after a step belong to what caused it.'));
	options.flag('clear_crash_dumps', _('Clear crash dumps'), '0',
		_('Delete the kernel\'s crash dumps (pstore) once they have been judged.'));
	options.list('rules', _('Fault rules'), kinds.absolutePath, _('Files with further fault rules.'));
}

function exclusion(options) {
	options.within('general');
	options.flag('enabled', _('Enable'), '1', _('Whether this exclusion is in force.')).editable = true;
	options.value('name', _('Name'), () => true, '', _('A name for people.'));
	const { hardware, ...lower } = words.levels();
	options.choice('level', _('Level'), lower, 'none', _('The highest level that these flows may have.'));
}

function matches(options) {
	options.within('matches');
	options.inWindow = true;
	options.list('device', _('Devices'), kinds.deviceName, _('In or out through this device.'));
	options.choice('family', _('Address family'), { ipv4: 'IPv4', ipv6: 'IPv6' }, '',
		_('This address family.'));
	const proto = options.list('proto', _('Protocols'), kinds.protocol, _('This protocol.'));
	proto.value('tcp', 'TCP');
	proto.value('udp', 'UDP');
	options.list('src_ip', _('From'), kinds.network, _('Opened from this address or network.'));
	options.list('dest_ip', _('To'), kinds.network, _('Opened to this address or network.'));
	options.list('src_port', _('From port'), kinds.ports, _('Opened from this port or range.'));
	options.list('dest_port', _('To port'), kinds.ports, _('Opened to this port or range.'));
	options.list('mark', _('Mark'), kinds.mark, _('This conntrack mark.'));
	options.list('dscp', _('DSCP'), kinds.dscp, _('This DSCP.'));
}

return view.extend({
	load() {
		return daemon.look();
	},

	render({ status }) {
		const map = new form.Map('flowguard', _('Settings'),
			_('An empty field has the default that it shows. Times are in seconds or with a unit, as in 90s, 15m, 2h, 1d.'));
		const globals = map.section(form.NamedSection, 'globals', 'flowguard');
		const options = new Options(globals);

		globals.tab('general', _('General'));
		globals.tab('flows', _('Flows'));
		globals.tab('comparison', _('Comparison'));
		globals.tab('waiting', _('Waiting'));
		globals.tab('faults', _('Faults'));
		general(options, [ ...(status?.devices ?? []), ...(status?.left_out ?? []) ].map(d => d.name));
		flows(options);
		comparison(options);
		waiting(options);
		faults(options);

		const excludes = map.section(form.GridSection, 'exclude', _('Exclusions'),
			_('Flows that may rise no higher than a level. All matches of an exclusion must hold, one value of each list is enough, and at least one match is needed.'));
		const excluded = new Options(excludes);

		excludes.anonymous = true;
		excludes.addremove = true;
		excludes.nodescriptions = true;
		excludes.tab('general', _('General'));
		excludes.tab('matches', _('Matches'));
		exclusion(excluded);
		matches(excluded);

		return map.render();
	}
});
