"""Devices by name, and how long they take for some work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from langtransfer.config.references import nearest
from langtransfer.config.training import Precision
from langtransfer.costs.resources import read_rows
from langtransfer.errors import UserError


@dataclass(frozen=True)
class Hardware:
    """One device; a CPU is counted by the core."""

    key: str
    name: str
    device: str
    """Part of the name PyTorch gives it."""
    peak: Mapping[Precision, float]
    """Operations a second, dense, as its maker states or as measured."""
    bandwidth: float
    """Bytes a second from its memory."""
    mfu: float
    """Share of peak and bandwidth that is reached: model FLOPs utilisation."""
    start_seconds: float
    """What a cell takes before its first step: imports, and loading the model."""

    def hours(self, flops: float, traffic: float, precision: Precision) -> float:
        """Hours for some arithmetic and some memory traffic, whichever takes longer."""
        seconds = max(flops / self.peak[precision], traffic / self.bandwidth) / self.mfu
        return (seconds + self.start_seconds) / 3600


@cache
def known_hardware() -> Mapping[str, Hardware]:
    """Rows of resources/costs/hardware.csv by key."""
    return {
        row["key"]: Hardware(
            row["key"], row["name"], row["device"],
            {"bf16": float(row["peak_bf16_tflops"]) * 1e12,
             "fp32": float(row["peak_fp32_tflops"]) * 1e12},
            float(row["bandwidth_gb_s"]) * 1e9, float(row["mfu"]), float(row["start_seconds"]),
        )
        for row in read_rows("hardware")
    }  # fmt: skip


def hardware_named(key: str, field: str = "runtime.hardware") -> Hardware:
    """A device by key; UserError where resources/costs/hardware.csv has no such row."""
    known = known_hardware()
    if key not in known:
        raise UserError(field, key, f"{nearest(key, known)}; or add a row to hardware.csv")
    return known[key]


def hardware_of(device: str) -> Hardware | None:
    """The row of a device by the name a manifest holds; None where no row fits."""
    fitting = (
        row
        for row in known_hardware().values()
        if re.search(rf"\b{re.escape(row.device)}\b", device, re.IGNORECASE)
    )
    return next(fitting, None)
