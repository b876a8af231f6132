"""What a run left behind: totals, `run.json`, and the closing table."""

from fase.report.run import Run, collect, write_json
from fase.report.table import show

__all__ = ["Run", "collect", "show", "write_json"]
