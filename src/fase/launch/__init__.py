"""Starting a program under emulation: checks beforehand, then the process itself."""
