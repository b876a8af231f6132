"""`python -m fase` is the `fase` command."""

from fase.cli.main import script

script()
