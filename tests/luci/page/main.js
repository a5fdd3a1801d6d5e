// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';

// Shows one page to a test, which tells it what to do and answers its calls: lines of JSON, on
// standard input and output. Each command is answered once everything that it led to is over.

const readline = require('node:readline');
const { Element, create } = require('./dom.js');
const { Luci } = require('./luci.js');

const waiting = new Map();
let page, luci, last = 0;

function tell(line) {
	process.stdout.write(`${JSON.stringify(line)}\n`);
}

function ask(object, method, params) {
	return new Promise(resolve => {
		waiting.set(++last, resolve);
		tell({ call: { object, method, params }, id: last });
	});
}

function found(what, fits) {
	const node = [ ...page.all() ].find(fits);
	if (!node)
		throw new Error(`no ${what} in: ${page.text}`);
	return node;
}

function byText(tag, text) {
	return found(`${tag} "${text}"`, node => node.tag == tag && node.text.trim() == text);
}

function option(section, name) {
	const sections = luci.maps[0].options.find(made => made.what.includes(section));
	return sections.options.find(made => made.what[1] == name);
}

const commands = {
	async open({ name, readonly }) {
		luci = new Luci(process.argv[2], ask, { readonly });
		const view = luci.require(name);
		const made = await view.render(await view.load());
		page = create('div', made instanceof Element ? [ made ] : []);
	},

	async poll() {
		await Promise.all(luci.polls.map(poll => poll()));
	},

	async click({ text }) {
		const button = byText('button', text);
		if (!button.disabled)
			await button.listeners.click({ currentTarget: button });
	},

	async choose({ tag, value }) {
		const node = found(tag, node => node.tag == tag);
		node.value = value;
		const told = node.listeners.change ?? node.listeners.keyup;
		await told?.({ currentTarget: node });
	},

	options() {
		return luci.maps[0].options.flatMap(section => section.options.map(made => ({
			section: section.what[0],
			widget: made.kind,
			tab: made.what[0],
			name: made.what[1],
			title: made.what[2],
			help: made.what[3],
			initial: made.placeholder ?? made.default ?? '',
			values: made.options.map(([ value ]) => value),
			optional: made.optional
		})));
	},

	/** For each text whether the option takes it. */
	validate({ section, name, texts }) {
		return texts.map(text => option(section, name).validate(section, text) === true);
	},

	/** What a switch shows for each text in the file. */
	shown({ section, name, texts }) {
		return texts.map(text => {
			luci.values = { [section]: { [name]: text } };
			return option(section, name).load(section);
		});
	}
};

function shown() {
	const nodes = [ ...page.all() ];
	return {
		lines: page.text.split('\n').map(line => line.trim()).filter(line => line),
		buttons: Object.fromEntries(nodes.filter(node => node.tag == 'button')
			.map(node => [ node.text.trim(), !node.disabled ])),
		links: nodes.filter(node => node.tag == 'a').map(node => node.attributes.href),
		styles: nodes.filter(node => node.classes.includes('alert-message'))
			.map(node => node.classes[1]),
		markup: nodes.map(node => node.markup).filter(markup => markup),
		html: nodes.map(node => node.html).filter(html => html),
		chosen: nodes.map(node => node.chosen).filter(value => value !== undefined),
		notifications: luci.notifications
	};
}

readline.createInterface({ input: process.stdin }).on('line', async line => {
	const told = JSON.parse(line);
	if ('id' in told) {
		waiting.get(told.id)(told.reply);
		waiting.delete(told.id);
		return;
	}
	try {
		const result = await commands[told.command](told);
		tell({ done: shown(), result });
	}
	catch (error) {
		tell({ failed: error.stack });
	}
});
