// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';

// As much of a document as the pages touch. What is set as HTML is kept apart from text, so that
// a test sees whether a text was ever taken for HTML.

const BLOCKS = new Set([ 'div', 'p', 'h2', 'h3', 'h4', 'tr', 'details', 'summary', 'table' ]);
const CELLS = new Set([ 'td', 'th' ]);

class Element {
	constructor(tag) {
		this.tag = tag;
		this.attributes = {};
		this.listeners = {};
		this.children = [];
		this.html = '';
		this.parentNode = null;
		this.classList = {
			add: (...names) => this.setAttribute('class', [ ...this.classes, ...names ].join(' ')),
			remove: name => this.setAttribute('class', this.classes.filter(c => c != name).join(' '))
		};
	}

	get classes() {
		return (this.attributes.class ?? '').split(' ').filter(name => name);
	}

	setAttribute(name, value) {
		this.attributes[name] = String(value);
	}

	get disabled() {
		return 'disabled' in this.attributes;
	}

	set disabled(yes) {
		if (yes)
			this.attributes.disabled = '';
		else
			delete this.attributes.disabled;
	}

	// Of a choice it is the first option's until another one is chosen.
	get value() {
		return this.chosen ?? this.attributes.value ??
			(this.tag == 'select' ? this.children[0]?.attributes.value : '');
	}

	set value(text) {
		this.chosen = text;
	}

	appendChild(child) {
		child.parentNode = this;
		this.children.push(child);
		return child;
	}

	replaceChildren(...children) {
		this.html = '';
		this.children = [];
		for (const child of children)
			this.appendChild(child);
	}

	set innerHTML(text) {
		this.replaceChildren();
		this.html = text;
	}

	*all() {
		yield this;
		for (const child of this.children)
			if (child instanceof Element)
				yield* child.all();
	}

	/** The text with a line for each block, and bars between the cells of a row. */
	get text() {
		const inner = this.children.map(child => child instanceof Element ? child.text : child.data);
		const text = this.html + inner.join(CELLS.has(this.children[0]?.tag) ? ' | ' : '');
		if (CELLS.has(this.tag))
			return text.replace(/\s*\n\s*/g, ' ').trim();
		return BLOCKS.has(this.tag) ? `\n${text}\n` : text;
	}
}

class Text {
	constructor(data) {
		this.data = data;
	}
}

function append(node, children) {
	if (Array.isArray(children))
		for (const child of children)
			node.appendChild(child instanceof Element ? child : new Text(`${child}`));
	else if (children instanceof Element)
		node.appendChild(children);
	else if (children !== null && children !== undefined)
		node.innerHTML = `${children}`;
}

function create(tag, attributes, children) {
	if (!(attributes instanceof Object) || Array.isArray(attributes)) {
		children = attributes;
		attributes = {};
	}
	const node = new Element(tag.startsWith('<') ? 'parsed' : tag);
	if (tag.startsWith('<'))
		node.markup = tag;
	for (const [ name, value ] of Object.entries(attributes ?? {}))
		if (typeof value == 'function')
			node.listeners[name] = value;
		else if (value !== null && value !== undefined)
			node.setAttribute(name, value);
	append(node, children);
	return node;
}

function content(node, children) {
	node.replaceChildren();
	append(node, children);
}

module.exports = { Element, append, content, create };
