"""Policies: which code runs under the operator and which keeps native precision."""

from fase.policy.policy import Policy, Rule, load

__all__ = ["Policy", "Rule", "load"]
