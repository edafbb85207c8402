"""What every config model shares: frozen, no unknown keys, documented by attribute docstrings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """A frozen config model that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
"""BCP-47 primary language subtag."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
"""Name of a config entry; it stands in paths, hence the narrow alphabet."""

Share = Annotated[float, Field(gt=0)]
"""Relative weight in a mix; shares are normalised to sum to one."""
