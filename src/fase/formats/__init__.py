"""Number formats as data, and the NumPy reference rounding: what each format means."""

from fase.formats.catalogue import catalogue, get
from fase.formats.format import Format

__all__ = ["Format", "catalogue", "get"]
