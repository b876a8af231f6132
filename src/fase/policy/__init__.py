"""Policies: which code runs under which operator, which layers, and when a run changes its mode."""

from fase.policy.files import load, policy_of, presets
from fase.policy.policy import Policy
from fase.policy.rules import Dynamic, Phase, RoutineRule, Rule, TorchRule, Where

__all__ = ["Dynamic", "Phase", "Policy", "RoutineRule", "Rule", "TorchRule", "Where", "load", "policy_of", "presets"]
