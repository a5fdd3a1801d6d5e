// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
'require baseclass';
'require flowguard.daemon as daemon';
'require flowguard.draw as draw';
'require flowguard.words as words';

return baseclass.extend({
	title: _('Flow Offloading'),

	load() {
		return daemon.look();
	},

	render(seen) {
		if (seen.status)
			return draw.box(words.summary(seen.status));

		// Whoever has not switched it on need not read about it on the first page.
		return seen.absent.enabled ? draw.box(words.absence(seen.absent)) : null;
	}
});
