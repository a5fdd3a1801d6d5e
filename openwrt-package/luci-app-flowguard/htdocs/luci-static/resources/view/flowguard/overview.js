// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
'require view';
'require dom';
'require poll';
'require ui';
'require flowguard.daemon as daemon';
'require flowguard.draw as draw';
'require flowguard.words as words';

const DECISIONS_SHOWN = 20;
const PARTS = [ 'summary', 'firewall', 'problems', 'actions', 'devices', 'chart', 'comparison',
	'decisions', 'sensors' ];
const HOLDS = [
	[ 600, _('10 minutes') ],
	[ 3600, _('1 hour') ],
	[ 8 * 3600, _('8 hours') ],
	[ 86400, _('1 day') ]
];

function section(title, ...nodes) {
	return E('div', { 'class': 'cbi-section' }, [ E('h3', [ title ]), ...nodes ]);
}

function table(titles, rows) {
	return E('table', { 'class': 'table' }, [
		E('tr', { 'class': 'tr table-titles' }, titles.map(title => E('th', { 'class': 'th' }, [ title ]))),
		...rows.map(cells => E('tr', { 'class': 'tr' }, cells.map((cell, column) =>
			E('td', { 'class': 'td', 'data-title': titles[column] || null }, Array.isArray(cell) ? cell : [ cell ?? '' ]))))
	]);
}

function lines(texts) {
	return texts.map(text => E('div', [ text ]));
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load() {
		return daemon.look();
	},

	render(seen) {
		this.mayChange = L.hasViewPermission();
		this.shown = {};
		this.samples = [];
		this.parts = Object.fromEntries(PARTS.map(name => [ name, E('div') ]));
		this.draw(seen);
		poll.add(() => daemon.look().then(now => this.draw(now)));

		return E('div', [
			E('h2', [ _('Flow Offloading') ]),
			...PARTS.map(name => this.parts[name])
		]);
	},

	draw(seen) {
		if (seen.status)
			this.drawStatus(seen.status);
		else
			this.drawAbsence(seen.absent);
	},

	/** Draw a part anew when what it shows has changed: what a person has opened stays open. */
	update(name, shown, drawn) {
		const text = JSON.stringify(shown ?? null);

		if (this.shown[name] === text)
			return;

		this.shown[name] = text;
		dom.content(this.parts[name], shown ? drawn(shown) : []);
	},

	drawStatus(status) {
		const decisions = status.decisions ?? [];
		const sensors = Object.entries(status.sensors ?? {}).filter(([ , health ]) => health != 'ok');

		this.samples = draw.remember(this.samples, status.flows);
		this.update('summary', [ words.summary(status), words.connections(status) ],
			([ said, connections ]) => draw.box(said, E('p', [ connections ])));
		if (!words.standsBy(status))
			this.adopting = false;
		this.update('firewall', words.standsBy(status) && [ this.adopting ], () => this.firewall());
		this.update('problems', words.problems(status), problems => problems.map(text =>
			E('div', { 'class': 'alert-message warning' }, [ E('p', [ text ]) ])));
		this.update('actions', { suspended: status.suspended, held: status.held_until != null },
			shown => this.actions(shown));
		this.update('devices',
			[ status.devices ?? [], status.missing_devices ?? [], status.left_out ?? [], status.time ],
			shown => this.devices(...shown));
		this.update('chart', this.samples.length && this.samples, samples =>
			section(_('Connections'), draw.chart(samples)));
		this.update('comparison', status.control?.share && status.control,
			control => this.comparison(control));
		this.update('decisions', decisions.length && decisions.slice(-DECISIONS_SHOWN).reverse(),
			shown => this.decisions(shown));
		this.update('sensors', sensors.length && sensors, shown => this.sensors(shown));
	},

	drawAbsence(absent) {
		const said = words.absence(absent);

		if (!absent.firewallOffloads)
			this.adopting = false;
		this.samples = [];
		for (const name of PARTS)
			if (name != 'summary' && name != 'firewall')
				this.update(name, null);
		this.update('summary', said, () => draw.box(said, ...this.mends(said.mend)));
		this.update('firewall', absent.firewallOffloads && [ this.adopting ], () => this.firewall());
	},

	mends(mend) {
		if (mend == 'settings')
			return [ E('a', {
				'class': 'btn cbi-button cbi-button-action',
				'href': L.url('admin/network/flowguard/settings')
			}, [ _('Go to the settings') ]) ];

		return mend == 'start' ? [ this.button(_('Start'), 'action', () => daemon.start()) ] : [];
	},

	firewall() {
		return E('div', { 'class': 'alert-message warning' }, [
			E('h4', [ _("The firewall's own flow offloading is on.") ]),
			E('p', [ _('flowguard and the firewall cannot both do it, so flowguard stands by.') ]),
			E('p', [ this.adopting
				? _('It is being switched off. Its connections leave the hardware first, which takes up to a minute. If it stays on, the system log says why.')
				: _('Switching it off takes up to a minute: its connections leave the hardware first.') ]),
			this.adopting ? '' : this.button(_('Switch it off'), 'action',
				() => daemon.adopt().then(() => this.adopting = true))
		]);
	},

	actions({ suspended, held }) {
		const duration = E('select', { 'class': 'cbi-input-select', 'style': 'width:auto' },
			HOLDS.map(([ seconds, text ]) => E('option', { 'value': seconds }, [ text ])));
		const hold = held
			? [ this.button(_('Allow hardware again'), 'action', () => daemon.hold(0)) ]
			: [
				this.button(_('No hardware for'), 'neutral', () => daemon.hold(+duration.value)),
				' ', duration
			];

		return E('p', [
			this.button(_('Try hardware now'), 'neutral', () => daemon.retry()), ' ',
			suspended
				? this.button(_('Resume'), 'action', () => daemon.resume())
				: this.button(_('Suspend'), 'negative', () => daemon.suspend()),
			' ', ...hold
		]);
	},

	/** A button that asks the router for something, and shows what became of it. */
	button(label, style, ask) {
		return E('button', {
			'class': `btn cbi-button cbi-button-${style}`,
			'disabled': this.mayChange ? null : '',
			'click': ui.createHandlerFn(this, () => Promise.resolve(ask())
				.catch(error => ui.addNotification(null, E('p', [ error.message ]), 'danger'))
				.then(() => daemon.look())
				.then(seen => this.draw(seen)))
		}, [ label ]);
	},

	devices(devices, missing, leftOut, now) {
		const rows = devices.map(device => [
			[ E('strong', [ device.name ?? '' ]), ' ', E('small', [ device.driver ?? '' ]) ],
			draw.badge(device.level),
			lines(words.device(device, now)),
			device.strikes ? this.button(_('Forget'), 'remove', () => daemon.forget(device.name)) : ''
		]);

		for (const name of missing)
			rows.push([ name, _('missing'), _('The settings name it, but there is no such device.'), '' ]);
		for (const device of leftOut)
			rows.push([ device.name, _('left out'), device.reason, '' ]);

		return section(_('Devices'), rows.length
			? table([ _('Device'), _('Level'), _('Why, and what comes next'), '' ], rows)
			: E('p', [ _('There is no device that could take part.') ]));
	},

	comparison(control) {
		const row = (name, arm) => [ name, arm?.n ?? 0, arm?.failed ?? 0 ];

		return section(_('Comparison'),
			E('p', [ words.comparison(control) ]),
			table([ _('Connections'), _('Judged'), _('Failed') ], [
				row(_('Offloaded'), control.treated),
				row(_('One level lower'), control.control)
			]),
			E('div', {
				'class': 'cbi-progressbar',
				'title': _('Evidence of a fault: %d %% of what is acted on').format(words.evidence(control))
			}, [ E('div', { 'style': `width:${words.evidence(control)}%` }) ]));
	},

	decisions(decisions) {
		return section(_('Decisions'), table(
			[ _('Time'), _('Device'), _('Level'), _('Reason') ],
			decisions.map(decision => [
				decision.at,
				decision.device,
				[ draw.badge(decision.from), ' → ', draw.badge(decision.to) ],
				decision.evidence
					? E('details', [
						E('summary', [ decision.reason ?? '' ]),
						E('div', { 'style': 'overflow-wrap:anywhere' }, [ decision.evidence ])
					])
					: decision.reason
			])));
	},

	sensors(sensors) {
		return section(_('What cannot be seen'),
			table([ _('Sensor'), _('Health') ], sensors));
	}
});
