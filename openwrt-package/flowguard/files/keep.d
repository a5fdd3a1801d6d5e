/etc/flowguard/state.json
/etc/flowguard/adopted.json
/etc/flowguard/rules.toml
/etc/capabilities/flowguard.json
