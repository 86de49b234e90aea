"""The registry domain without I/O: the rules of the specs as pure functions."""
