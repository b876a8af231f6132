"""How much slower programs run under FASE, against themselves in the same run. `make bench`, or `python -m benchmarks --help`."""
