// SPDX-License-Identifier: GPL-2.0-or-later

// The rules of LuCI's own eslint.config.mjs, as far as they concern scripts; they are stricter
// in one thing: a name that nobody knows is an error.

import { createRequire } from 'node:module';
import process from 'node:process';
import path from 'node:path';

const require = createRequire(path.join(process.cwd(), '.cache/eslint/'));
const js = require('@eslint/js');

const GLOBALS = [
	'TextEncoder',
	'_', 'N_', 'L', 'E', 'cbi_update_table',
	'baseclass', 'dom', 'form', 'fs', 'poll', 'rpc', 'uci', 'ui', 'view',
	'flowguard', 'daemon', 'draw', 'kinds', 'words'
];

export default [ {
	files: [ '**/*.js' ],
	...js.configs.recommended,
	languageOptions: {
		sourceType: 'script',
		ecmaVersion: 2026,
		globals: Object.fromEntries(GLOBALS.map(name => [ name, 'readonly' ])),
		parserOptions: { ecmaFeatures: { globalReturn: true } }
	},
	rules: {
		...js.configs.recommended.rules,
		'strict': 0,
		'no-prototype-builtins': 0,
		'no-empty': 0,
		'no-undef': 'error',
		'no-unused-vars': 'off',
		'no-regex-spaces': 0,
		'no-control-regex': 0
	}
} ];
