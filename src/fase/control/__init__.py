"""Switching the mode of a run from outside: the control file that its processes look at, and who writes to it."""
