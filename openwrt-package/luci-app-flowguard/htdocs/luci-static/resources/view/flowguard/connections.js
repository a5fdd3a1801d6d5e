// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
'require view';
'require dom';
'require ui';
'require flowguard.daemon as daemon';
'require flowguard.draw as draw';
'require flowguard.words as words';

// Each list costs the router a walk over all its connections, so none is fetched unasked.
const LIMIT = 200;

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load() {
		return this.fetch();
	},

	fetch() {
		return daemon.flows(LIMIT).then(reply => ({ reply }), error => ({ error }));
	},

	render(fetched) {
		this.text = E('input', {
			'type': 'text',
			'class': 'cbi-input-text',
			'placeholder': _('Address or port'),
			'keyup': () => this.fill()
		});
		this.level = E('select', { 'class': 'cbi-input-select', 'change': () => this.fill() }, [
			E('option', { 'value': '' }, [ _('Every path') ]),
			...[ 'hardware', 'software', 'none' ].map(level =>
				E('option', { 'value': level }, [ words.level(level) ]))
		]);
		this.table = E('table', { 'class': 'table' }, E('tr', { 'class': 'tr table-titles' },
			[ _('Connection'), _('Path'), _('Bytes'), _('Age'), _('Remarks') ].map(title =>
				E('th', { 'class': 'th' }, [ title ]))));
		this.note = E('p');
		this.take(fetched);

		return E('div', [
			E('h2', [ _('Connections') ]),
			E('p', [
				this.text, ' ', this.level, ' ',
				E('button', {
					'class': 'btn cbi-button cbi-button-action',
					'click': ui.createHandlerFn(this, () => this.fetch().then(now => this.take(now)))
				}, [ _('Refresh') ])
			]),
			this.note,
			this.table
		]);
	},

	take({ reply, error }) {
		this.flows = reply?.flows ?? [];
		dom.content(this.note, [ error
			? _('The connections cannot be listed: %s').format(error.message)
			: _('The largest connections, stalled ones first; at most %d.').format(LIMIT) ]);
		this.fill();
	},

	fill() {
		const found = this.flows.filter(flow =>
			(!this.level.value || flow.level == this.level.value) &&
			`${flow.flow} ${flow.reply}`.includes(this.text.value.trim()));

		cbi_update_table(this.table, found.map(flow => this.row(flow)), _('No connections'));
	},

	row(flow) {
		const bytes = (flow.bytes?.original ?? 0) + (flow.bytes?.reply ?? 0);
		const remarks = [];

		if (flow.stalled_for != null)
			remarks.push(_('stalled for %t').format(flow.stalled_for));
		if (flow.arm == 'control')
			remarks.push(_('kept one level lower, for comparison'));

		return [
			E('span', { 'style': 'overflow-wrap:anywhere' }, [ flow.flow ]),
			draw.badge(flow.level),
			[ bytes, E('span', [ '%1024.1mB'.format(bytes) ]) ],
			[ flow.age ?? -1, E('span', [ flow.age == null ? '' : '%t'.format(flow.age) ]) ],
			E('span', [ remarks.join('; ') ])
		];
	}
});
