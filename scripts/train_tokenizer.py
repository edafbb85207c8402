"""Train a vocabulary on the training documents of one or several languages.

Example: python -m scripts.train_tokenizer --recipe recipes/train_tokenizer/zh/ext500/<key>.json
Reads: corpus.<language>/train.jsonl.zst of each language.
Writes:
  tokenizer.spm                SentencePiece model (not for type: byte-level-bpe)
  tokenizer.json, tokenizer_config.json, special_tokens_map.json
                               the same ids for AutoTokenizer (not for a unigram model, which is
                               good for its pieces only); byte-level-bpe is these files alone
  vocabulary.json              the vocabulary contract
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Train, convert, and state the contract."""
    from langtransfer.config.vocabulary import TrainTokenizerCell
    from langtransfer.vocabulary import byte_level
    from langtransfer.vocabulary.contract import round_up, write_contract
    from langtransfer.vocabulary.conversion import save_tokenizer
    from langtransfer.vocabulary.training import corpus_lines, train_byte_level, train_model

    config = job.config(TrainTokenizerCell)
    corpora = {language: job.parent(f"corpus.{language}") for language in config.languages}
    lines = corpus_lines(corpora, config.max_documents)
    name = job.cell.rsplit("/", 1)[-1]
    if config.type == "byte-level-bpe":
        tokenizer = train_byte_level(lines, config, name)
        size = byte_level.size_of(tokenizer)
        names = byte_level.SPECIAL_TOKENS
        byte_level.save_byte_level(byte_level.Vocabulary(tokenizer, names), job.out)
    else:
        proto = train_model(lines, config, name)
        size = len(proto.pieces)
        save_tokenizer(proto, job.out)
    write_contract(job.out, round_up(size, config.pad_to_multiple_of))
    return {"pieces": size}


if __name__ == "__main__":
    main("train_tokenizer", run, __doc__)
