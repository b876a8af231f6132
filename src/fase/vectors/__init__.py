"""Test vectors: operands and results of emulated FMAs in hexadecimal, for hardware teams (docs/vectors.md)."""
