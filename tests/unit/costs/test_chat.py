"""What a request is said to take holds for the schemas that are sent."""

from __future__ import annotations

import json

from langtransfer.costs.chat import TRANSLATION_SCHEMA_TOKENS, VERDICT_SCHEMA_TOKENS
from langtransfer.evaluation.chat_client import Form
from langtransfer.evaluation.judge_cost import estimate_tokens
from langtransfer.evaluation.openai_judge import FORM


def test_schemas_are_counted() -> None:
    assert estimate_tokens(json.dumps(FORM.response_format)) == VERDICT_SCHEMA_TOKENS
    fields = ("question", "answer")
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in fields},
        "required": list(fields),
        "additionalProperties": False,
    }
    sent = estimate_tokens(json.dumps(Form("translation", schema, str).response_format))
    assert sent == TRANSLATION_SCHEMA_TOKENS
