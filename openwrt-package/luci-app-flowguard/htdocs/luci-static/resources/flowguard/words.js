// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
'require baseclass';

// What the status means, in words. Nothing here asks anybody or draws anything.

const LEVELS = {
	hardware: _('Hardware'),
	software: _('Software'),
	none: _('Not offloaded')
};

function summary(style, title, ...details) {
	return { style, title, details: details.filter(text => text) };
}

function onTheWantedLevel(status) {
	return (status.devices ?? []).filter(device => device.level == status.wanted);
}

function steady(status) {
	const devices = status.devices ?? [];
	const there = onTheWantedLevel(status);

	if (status.wanted == 'none')
		return summary('notice', _('Flow offloading is not wanted.'));

	if (devices.length && there.length == devices.length)
		return summary('success', status.wanted == 'hardware'
			? _('Hardware offloading is on.')
			: _('Software offloading is on.'));

	if (there.length && status.wanted == 'hardware')
		return summary('warning', _('Hardware offloading is on for %d of %d devices.')
			.format(there.length, devices.length), status.reason);

	if (status.level == 'software')
		return summary('warning', _('Hardware offloading is off, software offloading is on.'),
			status.reason);

	return summary('warning', _('Nothing is offloaded.'), status.reason);
}

// The soonest of these times; '' where there is none.
function nextTry(times, now) {
	const waits = times.filter(time => time != null).map(time => Math.max(0, time - now));

	return waits.length && now != null ? _('The next try is in %t.').format(Math.min(...waits)) : '';
}

return baseclass.extend({
	/** The name of a level or path for people. */
	level(name) {
		return LEVELS[name] ?? name ?? '';
	},

	/** Every level with its name for people, the highest first. */
	levels() {
		return { ...LEVELS };
	},

	/** What a person wants to know first: { style, title, details }, the style one of LuCI's. */
	summary(status) {
		if (status.suspended)
			return summary('warning', _('Flow offloading is suspended.'),
				_('Nothing is offloaded until it is resumed, or until the next boot.'));

		switch (status.state) {
		case 'stopped':
			return summary('warning', _('flowguard is ending.'), status.reason);
		case 'draining':
			return summary('notice', _('Connections are leaving the hardware.'), status.reason);
		case 'canary':
			return summary('notice', _('Hardware offloading is being tried again.'),
				_('One in %d new connections takes part.').format(status.control?.canary?.share ?? 1));
		}

		if (status.failure)
			return summary('danger', _('The kernel refuses flow offloading.'));

		const said = steady(status);
		if (status.state == 'held_off')
			said.details.push(nextTry(
				(status.devices ?? []).map(device => device.held_off_until), status.time));
		return said;
	},

	/** How many connections take which path; '' while none are known. */
	connections(status) {
		const flows = status.flows ?? {};
		const all = (flows.hardware ?? 0) + (flows.software ?? 0) + (flows.none ?? 0);

		return all ? _('%d of %d connections go through the hardware, %d take the software path.')
			.format(flows.hardware ?? 0, all, flows.software ?? 0) : '';
	},

	/** Why a device is where it is, and what comes next. */
	device(device, now) {
		const words = [ device.reason ];

		if (device.needs_power_cycle)
			words.push(_('Only switching the router off and on mends it.'));
		else if (device.held_until_reboot)
			words.push(_('It stays off until the next boot.'));
		else
			words.push(nextTry([ device.held_off_until ], now));
		if (device.strikes)
			words.push(_('Faults that are remembered: %d').format(device.strikes));

		const said = words.filter(text => text);
		return said.length ? said : [ _('As wanted.') ];
	},

	/** What is wrong besides the firewall's own switch, which has a box of its own. */
	problems(status) {
		const boot = status.boot?.unplanned
			? [ _('The router was not rebooted on purpose: %s').format(status.boot.evidence ?? '') ] : [];

		return [ ...boot, ...(status.problems ?? []).filter(text => !this.isAboutTheFirewall(text)) ];
	},

	/** flowguard stands by while the firewall offloads by itself. */
	standsBy(status) {
		return (status.problems ?? []).some(this.isAboutTheFirewall);
	},

	isAboutTheFirewall(text) {
		return text.includes('(fw4-offload)');
	},

	/** Which connections are compared, and what for. */
	comparison(control) {
		return control.canary?.share
			? _('One in %d connections tries the hardware. The others stay one level lower.')
				.format(control.canary.share)
			: _('One in %d connections stays one level lower. If only the others fail, the fault is the offloading.')
				.format(control.share);
	},

	/** How far the evidence against the hardware is, in percent of what makes flowguard act. */
	evidence(control) {
		const needed = Math.log(control.acts_at ?? Infinity);
		const found = Math.log(Math.max(1, control.e_value ?? 1));

		return Math.min(100, Math.round(100 * found / needed));
	},

	/** Why nobody answers: { title, details, mend }; `mend` is 'settings', 'start' or nothing. */
	absence(seen) {
		const instance = seen.instance;

		if (seen.error)
			return summary('danger', _('The router cannot be asked about flowguard.'), seen.error);

		if (!seen.enabled)
			return { mend: 'settings', ...summary('warning', _('flowguard is not enabled.'),
				_('Connections are forwarded without it.')) };

		if (!instance)
			return { mend: 'start', ...summary('warning', _('flowguard is not running.'),
				_('It is enabled, but the service has not been started.')) };

		if (!instance.running)
			return summary('danger', _('flowguard has ended.'),
				instance.exit_code ? _('Its exit code is %d.').format(instance.exit_code) : '',
				_('It is started again after some seconds. The system log says why it ended.'));

		return summary('notice', _('flowguard does not answer.'),
			_('It is starting, or it is busy. The system log says more.'));
	}
});
