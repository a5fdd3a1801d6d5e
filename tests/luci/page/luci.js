// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';

// What LuCI gives to a page, as far as flowguard's pages use it, with LuCI's own semantics
// (luci.js, rpc.js, ui.js and form.js of luci-base). Source: LuCI's JavaScript API.

const fs = require('node:fs');
const path = require('node:path');
const dom = require('./dom.js');

function duration(seconds) {
	const [ d, h, m, s ] = [ seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60 ]
		.map(Math.floor);
	return `${d ? `${d}d ` : ''}${h}h ${m}m ${s}s`;
}

function size(bytes) {
	const units = [ ' ', ' Ki', ' Mi', ' Gi', ' Ti' ];
	let unit = 0;
	for (; bytes > 1024; unit++)
		bytes /= 1024;
	return `${unit ? bytes.toFixed(1) : bytes}${units[unit]}`;
}

String.prototype.format = function(...values) {
	return this.replace(/%(%|d|s|t|1024\.1m)/g, (whole, kind) => {
		if (kind == '%')
			return '%';
		const value = values.shift();
		if (value === undefined)
			throw new Error(`nothing to put into "${this}"`);
		return { d: v => `${Math.floor(v)}`, s: String, t: duration, '1024.1m': size }[kind](value);
	});
};

class Base {
	static extend(properties) {
		const Extended = class extends this {};
		Object.assign(Extended.prototype, properties);
		return Extended;
	}
}

class View extends Base {}

/** `ask` sends one call to the router, and resolves to a reply of JSON-RPC. */
class Luci {
	constructor(htdocs, ask, { readonly = false } = {}) {
		this.resources = path.join(htdocs, 'luci-static', 'resources');
		this.polls = [];
		this.notifications = [];
		this.maps = [];
		this.loaded = {};
		this.globals = {
			E: dom.create,
			L: { hasViewPermission: () => !readonly, url: where => `/cgi-bin/luci/${where}` },
			_: text => text,
			cbi_update_table: (table, rows, none) => this.updateTable(table, rows, none)
		};
		this.modules = { baseclass: Base, dom, view: View, form: this.form(), ...this.edges(ask) };
	}

	/** An instance of a class by its name, with what its `require` lines ask for. */
	require(name) {
		this.loaded[name] ??= this.load(name);
		return this.loaded[name];
	}

	load(name) {
		if (name in this.modules)
			return this.modules[name];
		const file = path.join(this.resources, `${name.replace(/\./g, '/')}.js`);
		const source = fs.readFileSync(file, 'utf8');
		// Lines after the first other statement are not looked at.
		const head = source.match(/^(?:\s|\/\/.*|'use strict';|'require [^']+';)*/)[0];
		const wanted = [ ...head.matchAll(/'require[ \t]+(\S+?)(?:[ \t]+as[ \t]+([a-zA-Z_]\S*))?';/g) ]
			.map(([ , dependency, as ]) => [ as ?? dependency.replace(/\W/g, '_'), dependency ]);
		const parameters = [ ...Object.keys(this.globals), ...wanted.map(([ as ]) => as) ];
		const values = [ ...Object.values(this.globals), ...wanted.map(([ , d ]) => this.require(d)) ];
		return new (new Function(...parameters, `${source}\n//# sourceURL=${file}`)(...values))();
	}

	edges(ask) {
		const rpc = { declare: options => (...given) => this.call(ask, options, given) };
		const execute = rpc.declare({ object: 'file', method: 'exec', params: [ 'command', 'params' ] });
		return {
			rpc,
			fs: {
				exec: async (command, params) => {
					const done = await execute(command, params);
					if (typeof done == 'number')
						throw new Error(`ubus code ${done}`);
					return done;
				}
			},
			poll: { add: poll => this.polls.push(poll) },
			uci: { get: (config, section, option) => this.values?.[section]?.[option] ?? null },
			ui: {
				addNotification: (title, node) => this.notifications.push(node.text.trim()),
				createHandlerFn: (context, handler) => event => {
					const button = event.currentTarget;
					button.disabled = true;
					return Promise.resolve(handler.call(context, event))
						.finally(() => button.disabled = false);
				}
			}
		};
	}

	async call(ask, { object, method, params = [], expect, reject }, given) {
		// What is undefined is not sent, as in JSON.
		const named = Object.fromEntries(params.map((name, place) => [ name, given[place] ]));
		const reply = await ask(object, method, JSON.parse(JSON.stringify(named)));
		if (reply.error)
			throw new Error(`RPC call to ${object}/${method} failed: ${reply.error.message}`);
		const [ code, data ] = reply.result;
		if (reject && code !== 0)
			throw new Error(`RPC call to ${object}/${method} failed with ubus code ${code}`);
		let value = reply.result.length > 1 ? data : code;
		for (const key in expect) {
			if (value !== null && value !== undefined && key !== '')
				value = value[key];
			const kind = Object.prototype.toString;
			if (value === null || value === undefined || kind.call(value) != kind.call(expect[key]))
				value = expect[key];
		}
		return value;
	}

	updateTable(table, rows, none) {
		table.replaceChildren(table.children[0], ...rows.map(row => dom.create('tr', row.map(cell =>
			dom.create('td', {}, Array.isArray(cell) ? cell[1] : cell)))));
		if (!rows.length)
			table.appendChild(dom.create('tr', [ dom.create('td', none) ]));
	}

	/** A form that only keeps what it is made of. */
	form() {
		const maps = this.maps;
		const named = name => ({ [name]: class {
			constructor(...what) {
				Object.assign(this, { kind: name, what, options: [], tabs: [] });
			}
			tab(...tab) {
				this.tabs.push(tab);
			}
			taboption(tab, widget, option, title, help) {
				const made = new widget(tab, option, title, help);
				this.options.push(made);
				return made;
			}
			section(section, ...about) {
				const made = new section(...about);
				this.options.push(made);
				return made;
			}
			value(...value) {
				this.options.push(value);
			}
			render() {
				maps.push(this);
				return dom.create('form');
			}
		} })[name];
		const names = [ 'Map', 'NamedSection', 'GridSection', 'Flag', 'ListValue', 'Value', 'DynamicList' ];
		return Object.fromEntries(names.map(name => [ name, named(name) ]));
	}
}

module.exports = { Luci };
