"""Give the base model rows for an extended vocabulary.

Example: python -m scripts.extend_embeddings --recipe recipes/extend_embeddings/zh/ext500/<key>.json
Reads: checkpoint (the base model), vocabulary (extend_vocabulary); for `method: focus` also
       corpus.<language>/train.jsonl.zst of the targets.
Writes:
  model/                       the resized model and the extended vocabulary's files beside it
  embeddings.json              method, counts, mean norms of old and new rows; of FOCUS also how
                               many new pieces it covered, from how many of the base's
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langtransfer.command import main
from langtransfer.job import Job

if TYPE_CHECKING:
    from langtransfer.config.vocabulary import FocusConfig
    from langtransfer.vocabulary.contract import VocabularyContract
    from langtransfer.vocabulary.embeddings import Focus


def run(job: Job) -> dict[str, Any]:
    """Load on the CPU in the checkpoint's own type, extend, save."""
    from transformers import AutoModelForCausalLM

    from langtransfer.config.vocabulary import ExtendEmbeddingsConfig
    from langtransfer.pretraining.models import embedding_rows
    from langtransfer.vocabulary.contract import (
        check_contract,
        check_model_fits,
        copy_vocabulary,
        corrected_ids,
    )
    from langtransfer.vocabulary.conversion import write_json
    from langtransfer.vocabulary.embeddings import extend_model
    from langtransfer.vocabulary.sub_pieces import sub_pieces_of

    config = job.config(ExtendEmbeddingsConfig)
    source, vocabulary = job.parent("checkpoint") / "model", job.parent("vocabulary")
    base, extended = (check_contract(folder, job.stage) for folder in (source, vocabulary))
    # config.json was compared above; weights of another size would fail while loading.
    check_model_fits(base, embedding_rows(source), str(source))
    segments = sub_pieces_of(source, vocabulary)
    if base.size + len(segments) != extended.size:
        raise AssertionError(f"{len(segments)} new ids between {base.size} and {extended.size}")
    focus = _focus(job, config.focus, extended, base.size) if config.focus else None
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto", local_files_only=True)
    report = extend_model(model, base.size, segments, config, focus)
    for settings in (model.config, model.generation_config):  # an added <pad> pads from here on
        for field, value in corrected_ids(extended, settings.to_dict()).items():
            setattr(settings, field, value)
    model.save_pretrained(job.out / "model")
    copy_vocabulary(vocabulary, job.out / "model", report["embedding_rows"])
    write_json(job.out / "embeddings.json", report)
    return {"new_pieces": report["new_pieces"]}


def _focus(job: Job, config: FocusConfig, extended: VocabularyContract, base_size: int) -> Focus:
    """Auxiliary vectors from the targets' text; text and fastText model stay in `work`."""
    from langtransfer.vocabulary.embeddings import Focus
    from langtransfer.vocabulary.focus import train_auxiliary
    from langtransfer.vocabulary.training import corpus_lines

    lines = corpus_lines(job.group("corpus"), config.max_documents)
    vocabulary = job.parent("vocabulary")
    auxiliary = train_auxiliary(lines, vocabulary, extended, base_size, config, job.work)
    return Focus(auxiliary, job.work / "focus.log")


if __name__ == "__main__":
    main("extend_embeddings", run, __doc__)
