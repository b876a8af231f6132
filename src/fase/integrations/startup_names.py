"""Names that the child and `fase run` share."""

MATCHES = "python-"
"""Files in which a process says what its rules matched begin with this: JSON with `torch` (matches by rule) and `backward` (passes seen)."""

PARTIAL = ".partial"
"""And end with this while they are being written."""
