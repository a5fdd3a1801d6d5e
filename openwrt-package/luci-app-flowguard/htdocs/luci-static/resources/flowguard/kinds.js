// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
'require baseclass';

// What the daemon takes for an option. Each kind is a function for a form's `validate`: true for
// a value that is allowed, otherwise what is. Tests compare them with the daemon's own.

const DAY = 86400;
const UNITS = { '': 1, s: 1, m: 60, h: 3600, d: DAY };
const ALL_BITS = 0xffffffff;

function number(text) {
	return /^(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,16})$/.test(text)
		? parseInt(text, /^0x/i.test(text) ? 16 : 10) : NaN;
}

function isWithin(value, low, high) {
	return low <= value && value <= high;
}

function inWords(seconds) {
	const unit = [ 'd', 'h', 'm' ].find(letter => seconds && seconds % UNITS[letter] == 0) ?? 's';
	return `${seconds / UNITS[unit]}${unit}`;
}

// An empty field leaves the default in place.
function kind(isAllowed, allowed) {
	return (section, value) => value == null || value === '' || isAllowed(value) || allowed;
}

function isIpv4(text) {
	const bytes = text.split('.');
	return bytes.length == 4 && bytes.every(byte =>
		/^(0|[1-9][0-9]{0,2})$/.test(byte) && +byte <= 255);
}

function isIpv6(text) {
	if (!/^[0-9a-fA-F:.]+$/.test(text))
		return false;

	// An address of IPv4 at the end stands for two groups.
	const tail = text.slice(text.lastIndexOf(':') + 1);
	if (tail.includes('.') && !isIpv4(tail))
		return false;

	const halves = text.replace(/[^:]*\.[^:]*$/, '0:0').split('::');
	const groups = halves.map(half => half === '' ? [] : half.split(':'));
	const count = groups.reduce((sum, half) => sum + half.length, 0);

	return groups.every(half => half.every(group => /^[0-9a-fA-F]{1,4}$/.test(group))) &&
		(halves.length == 1 ? count == 8 : halves.length == 2 && count <= 7);
}

// The bits of a network mask, or of a host mask, are ones and then zeros, or the reverse.
function isIpv4Mask(text) {
	if (/^[0-9]+$/.test(text))
		return +text <= 32;

	if (!isIpv4(text))
		return false;

	const bits = text.split('.').map(byte => (+byte).toString(2).padStart(8, '0')).join('');
	return /^(1*0*|0*1*)$/.test(bits);
}

function isNetwork(text) {
	const [ address, mask, ...rest ] = text.split('/');

	if (rest.length)
		return false;

	return isIpv4(address)
		? mask === undefined || isIpv4Mask(mask)
		: isIpv6(address) && (mask === undefined || (/^[0-9]+$/.test(mask) && +mask <= 128));
}

function isPorts(text) {
	const [ first, last, ...rest ] = text.split('-');
	const low = number(first);

	return !rest.length && isWithin(low, 0, 65535) &&
		(last === undefined || isWithin(number(last), low, 65535));
}

function isMark(text) {
	const [ first, bits, ...rest ] = text.split('/');
	const value = number(first);
	const mask = bits === undefined ? ALL_BITS : number(bits);

	return !rest.length && isWithin(value, 0, ALL_BITS) && isWithin(mask, 1, ALL_BITS) &&
		(BigInt(value) & ~BigInt(mask)) === 0n;
}

return baseclass.extend({
	integer(low, high) {
		return kind(text => isWithin(number(text), low, high),
			_('a number from %d to %d').format(low, high));
	},

	/** Seconds, or with a unit. */
	duration(low, high) {
		return kind(text => {
			const found = /^([0-9]{1,9})([smhd]?)$/.exec(text);
			return found != null && isWithin(found[1] * UNITS[found[2]], low, high);
		}, _('a time from %s to %s, as in 90 or 90s, 15m, 2h, 1d').format(inWords(low), inWords(high)));
	},

	share: kind(text => text === '0' || isWithin(number(text), 2, 1024), _('0 (none) or 2 to 1024')),

	deviceName: kind(
		text => new TextEncoder().encode(text).length <= 15 && !/^\.{1,2}$|[/:\s]/.test(text),
		_('the name of a network device, as in eth0')),

	network: kind(isNetwork, _('an IPv4 or IPv6 address or network, as in 192.168.1.0/24')),

	ports: kind(isPorts, _('a port 0 to 65535 or a range of them, as in 5060-5061')),

	mark: kind(isMark, _('a value, or value/mask with no bit outside of the mask, as in 0x100/0xff00')),

	dscp: kind(text => isWithin(number(text), 0, 63) || /^(be|ef|cs[0-7]|af[1-4][1-3])$/i.test(text),
		_('0 to 63, be, cs0 to cs7, af11 to af43 or ef')),

	protocol: kind(text => text == 'tcp' || text == 'udp', _('tcp or udp')),

	absolutePath: kind(text => text.startsWith('/'), _('an absolute path')),

	DAY
});
