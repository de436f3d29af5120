"""The settings: a YAML file and the environment in, frozen core values out, every mistake at once."""

from agent.settings.advice import advise, unsafe_folders
from agent.settings.load import load
from agent.settings.model import schema

__all__ = ["advise", "load", "schema", "unsafe_folders"]
