"""What every config model shares: frozen, no unknown keys, documented by attribute docstrings."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


class Model(BaseModel):
    """A frozen config model that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
"""BCP-47 primary language subtag."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
"""Name of a config entry; it stands in paths, hence the narrow alphabet."""

SECRET = "secret"
"""Type of the mistakes whose value is not to be shown."""


def _public(address: str) -> str:
    """An address without a closing slash; ValueError for one that holds a secret or is none."""
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("give http://... or https://...")
    if "@" in url.netloc or url.query or url.fragment:
        remedy = "no user, password, ? or # here: secrets come from the environment"
        raise PydanticCustomError(SECRET, "{remedy}", {"remedy": remedy})
    return address.rstrip("/")


Endpoint = Annotated[str, AfterValidator(_public)]
"""Public address of a service."""

Share = Annotated[float, Field(gt=0)]
"""Relative weight in a mix; shares are normalised to sum to one."""
