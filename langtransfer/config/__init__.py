"""Typed configuration: one frozen model per stage, and the slices that recipes hold."""

from langtransfer.config.base import Language, Model, Name, Share
from langtransfer.config.root import Config, RuntimeConfig

__all__ = ["Config", "Language", "Model", "Name", "RuntimeConfig", "Share"]
