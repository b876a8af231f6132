"""Frameworks that FASE reaches into, when a policy asks for it. Nothing here imports one by itself."""
