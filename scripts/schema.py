"""Write the JSON schema of the config, for editors; a test keeps it in step.

Example: python -m scripts.schema
"""

from __future__ import annotations

import json

from langtransfer.config import Config
from langtransfer.job import write_atomically
from langtransfer.resources import RESOURCES

PATH = RESOURCES / "schema" / "config.schema.json"


def schema() -> str:
    """The schema's text."""
    return (
        json.dumps(Config.model_json_schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    write_atomically(PATH, schema())
