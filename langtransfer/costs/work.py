"""What one cell takes, and what estimates are made with."""

from __future__ import annotations

from dataclasses import dataclass, field

from langtransfer.config import RuntimeConfig
from langtransfer.config.training import Precision
from langtransfer.costs.shapes import Shapes
from langtransfer.evaluation.judge_cost import Tokens


@dataclass(frozen=True)
class Work:
    """What one cell takes, whoever does it."""

    on_device: bool = False
    """Whether it holds a GPU where there are any."""
    tokens: int = 0
    """Learnt from, read, or written by the model; packed, for corpora."""
    flops: float = 0.0
    traffic: float = 0.0
    """Bytes of weights and cache that writing token by token reads."""
    precision: Precision = "fp32"
    disk: int = 0
    """Bytes the cell keeps in `data/`."""
    scratch: int = 0
    """Bytes of its newest checkpoint in `work/` while it runs."""
    reused: float = 0.0
    """Operations it does not do since it goes on from a smaller budget's run."""
    calls: int = 0
    """Questions to a chat model."""
    asked: Tokens = field(default_factory=Tokens)
    model: str = ""
    """Name of that chat model."""


@dataclass(frozen=True)
class Given:
    """What estimates are made with; shapes are kept between cells."""

    runtime: RuntimeConfig
    shapes: Shapes = field(default_factory=Shapes)
