"""Number formats as data, and the NumPy reference rounding: what each format means."""

from fase.formats.catalogue import catalogue, load, register
from fase.formats.format import Format
from fase.formats.lookup import get

__all__ = ["Format", "catalogue", "get", "load", "register"]
