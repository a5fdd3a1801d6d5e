"""Pure decisions: no I/O, no clock, no globals. Everything here can be replayed."""
