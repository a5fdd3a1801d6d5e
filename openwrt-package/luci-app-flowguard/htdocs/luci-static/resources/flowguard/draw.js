// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
'require baseclass';
'require flowguard.words as words';

// The parts that several pages show. Colours and shapes are the theme's. Text is always given in
// a list: LuCI takes a lone string for HTML, and much of it comes from drivers.

const STYLES = { hardware: 'success', software: 'notice', none: 'warning' };
const COLOURS = {
	hardware: 'var(--success-color-high)',
	software: 'var(--primary-color-high)',
	none: 'var(--border-color-high)'
};
const SAMPLES = 60;
const HEIGHT = 60;

// The outline of one path's share: along its upper edge, and back along the lower one.
function area(upper, lower) {
	const right = SAMPLES - upper.length;
	const points = upper.map((y, x) => `${right + x},${HEIGHT - y}`);
	const back = lower.map((y, x) => `${right + x},${HEIGHT - y}`).reverse();

	return [ ...points, ...back ].join(' ');
}

return baseclass.extend({
	/** A level as a coloured word. */
	badge(level) {
		return E('span', { 'class': `label ${STYLES[level] ?? ''}` }, [ words.level(level) ]);
	},

	/** What words.summary() says, as a box; more nodes may follow. */
	box(said, ...nodes) {
		return E('div', { 'class': `alert-message ${said.style}` }, [
			E('h4', [ said.title ]),
			...said.details.map(text => E('p', [ text ])),
			...nodes
		]);
	},

	/** The newest counts of connections by path come last; at most five minutes are kept. */
	remember(samples, flows) {
		if (flows?.hardware == null || !(flows.hardware + flows.software + (flows.none ?? 0)))
			return samples;

		return [ ...samples, flows ].slice(-SAMPLES);
	},

	/** The shares of the paths over time, one over the other; each width is one sample. */
	chart(samples) {
		if (samples.length == 1)
			samples = [ ...samples, ...samples ];

		let lower = samples.map(() => 0);
		const areas = Object.keys(COLOURS).map(path => {
			const upper = samples.map((flows, x) => {
				const all = flows.hardware + flows.software + (flows.none ?? 0);
				return lower[x] + (all ? HEIGHT * (flows[path] ?? 0) / all : 0);
			});
			const points = area(upper, lower);
			lower = upper;
			return `<polygon style="fill:${COLOURS[path]}" points="${points}"/>`;
		});

		return E('div', [
			E(`<svg viewBox="0 0 ${SAMPLES - 1} ${HEIGHT}" preserveAspectRatio="none" ` +
				`style="width:100%;height:6em">${areas.join('')}</svg>`),
			E('p', Object.keys(COLOURS).map(path => E('span', { 'style': 'white-space:nowrap' }, [
				E('span', { 'style': `border-left:1em solid ${COLOURS[path]};margin-right:.4em` }),
				'%s: %d'.format(words.level(path), samples[samples.length - 1][path] ?? 0),
				'\u2003'
			])))
		]);
	}
});
