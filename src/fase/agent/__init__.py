"""Finding, configuring and talking to the native agent."""

from fase.agent.config import Config

__all__ = ["Config"]
