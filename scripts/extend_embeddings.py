"""Give the base model rows for an extended vocabulary.

Example: python -m scripts.extend_embeddings --recipe recipes/extend_embeddings/zh/ext500/<key>.json
Reads: checkpoint (the base model), vocabulary (extend_vocabulary).
Writes:
  model/                       the resized model and the extended vocabulary's files beside it
  embeddings.json              method, counts, mean norms of old and new rows
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Load on the CPU in the checkpoint's own type, extend, save."""
    from transformers import AutoModelForCausalLM

    from langtransfer.config.vocabulary import ExtendEmbeddingsConfig
    from langtransfer.errors import UserError
    from langtransfer.vocabulary.contract import check_contract, copy_vocabulary
    from langtransfer.vocabulary.conversion import read_proto, write_json
    from langtransfer.vocabulary.embeddings import extend_model

    config = job.config(ExtendEmbeddingsConfig)
    source, vocabulary = job.parent("checkpoint") / "model", job.parent("vocabulary")
    for folder in (source, vocabulary):
        contract = check_contract(folder, job.stage)
        if "tokenizer.spm" not in contract.sha256:
            remedy = "has no SentencePiece model, which says what new pieces are made of"
            raise UserError("extend_embeddings: vocabulary", str(folder), remedy)
    base, extended = (read_proto(f / "tokenizer.spm") for f in (source, vocabulary))
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto", local_files_only=True)
    report = extend_model(model, base, extended, config)
    model.save_pretrained(job.out / "model")
    copy_vocabulary(vocabulary, job.out / "model", report["embedding_rows"])
    write_json(job.out / "embeddings.json", report)
    return {"new_pieces": report["new_pieces"]}


if __name__ == "__main__":
    main("extend_embeddings", run, __doc__)
