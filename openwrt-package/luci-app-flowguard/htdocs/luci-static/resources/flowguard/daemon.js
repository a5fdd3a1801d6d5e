// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
'require baseclass';
'require fs';
'require rpc';

// Everything that the pages ask of the router.

const TRUE_WORDS = [ '1', 'on', 'true', 'yes', 'enabled' ];
const FIREWALL_TRUE_WORDS = [ '1', 'on', 'true', 'yes' ];

function declare(method, params) {
	return rpc.declare({ object: 'flowguard', method, params, reject: true });
}

const askStatus = declare('status');
const askFlows = declare('flows', [ 'limit' ]);
const askRetry = declare('retry');
const askHold = declare('hold', [ 'seconds' ]);
const askSuspend = declare('suspend');
const askResume = declare('resume');
const askForget = declare('forget', [ 'device' ]);

const listServices = rpc.declare({
	object: 'service',
	method: 'list',
	params: [ 'name' ],
	expect: { flowguard: {} }
});

const getEnabled = rpc.declare({
	object: 'uci',
	method: 'get',
	params: [ 'config', 'section', 'option' ],
	expect: { value: '0' }
});

const getDefaults = rpc.declare({
	object: 'uci',
	method: 'get',
	params: [ 'config', 'type' ],
	expect: { values: {} }
});

async function whyAbsent() {
	const [ listed, enabled, defaults ] = await Promise.all([
		listServices('flowguard'),
		getEnabled('flowguard', 'globals', 'enabled'),
		getDefaults('firewall', 'defaults')
	]);

	return {
		instance: listed.instances?.main,
		enabled: TRUE_WORDS.includes(enabled),
		firewallOffloads: Object.values(defaults).some(section =>
			FIREWALL_TRUE_WORDS.includes(section.flow_offloading))
	};
}

async function service(command) {
	const done = await fs.exec('/etc/init.d/flowguard', [ command ]);

	if (done.code)
		throw new Error((done.stderr || done.stdout || '').trim() ||
			_('service flowguard %s ended with code %d').format(command, done.code));
}

return baseclass.extend({
	/** { status }, or { absent } with what may explain that nobody answers. Never rejects. */
	look() {
		return askStatus().then(
			status => ({ status }),
			() => whyAbsent().then(
				absent => ({ absent }),
				error => ({ absent: { error: error.message } })));
	},

	flows(limit) {
		return askFlows(limit);
	},

	// Each of these resolves to the new status.
	retry() {
		return askRetry();
	},

	hold(seconds) {
		return askHold(seconds);
	},

	suspend() {
		return askSuspend();
	},

	resume() {
		return askResume();
	},

	forget(device) {
		return askForget(device);
	},

	/** Have the firewall's own flow offloading switched off; it takes up to a minute after this. */
	adopt() {
		return service('adopt');
	},

	/** Start the service, now and at every boot. */
	async start() {
		await service('enable');
		await service('start');
	}
});
