"""Train a SentencePiece vocabulary on the training documents of one or several languages.

Example: python -m scripts.train_tokenizer --recipe recipes/train_tokenizer/zh/ext500/<key>.json
Reads: corpus.<language>/train.jsonl.zst of each language.
Writes:
  tokenizer.spm                SentencePiece model
  tokenizer.json, tokenizer_config.json, special_tokens_map.json
                               the same ids for AutoTokenizer (not for a unigram model, which is
                               good for its pieces only)
  vocabulary.json              the vocabulary contract
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Train, convert, and state the contract."""
    from langtransfer.config.vocabulary import TrainTokenizerCell
    from langtransfer.vocabulary.contract import round_up, write_vocabulary
    from langtransfer.vocabulary.training import corpus_lines, train_model

    config = job.config(TrainTokenizerCell)
    corpora = {language: job.parent(f"corpus.{language}") for language in config.languages}
    lines = corpus_lines(corpora, config.max_documents)
    proto = train_model(lines, config, job.cell.rsplit("/", 1)[-1])
    rows = round_up(len(proto.pieces), config.pad_to_multiple_of)
    contract = write_vocabulary(proto, job.out, rows)
    return {"pieces": contract.size}


if __name__ == "__main__":
    main("train_tokenizer", run, __doc__)
