"""Addresses of repositories and remotes as they may be written down and shown."""

from __future__ import annotations

import re

CREDENTIALS = re.compile(r"(?<=//)[^/@]*@")


def without_credentials(text: str) -> str:
    """The text without the user name and password of any address in it."""
    return CREDENTIALS.sub("", text)
