"""Questions of a benchmark in a language nobody published them in.

Example: python -m scripts.translate_benchmark --recipe recipes/translate_benchmark/qa/hi/<key>.json
Reads: source/questions.jsonl; a chat model, or the dataset registry where a translation is ready
Writes:
    data/
    ├── questions.jsonl   as fetch_benchmark's; same ids, categories and order
    └── stats.json        {"items", "by", "changed_spans"}: who translated; ids of questions whose
                          code, formulas or placeholders are not as they were
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langtransfer.command import main
from langtransfer.job import Job

if TYPE_CHECKING:
    from langtransfer.config.evaluation import TranslateBenchmarkCell

Rows = list[dict[str, Any]]


def run(job: Job) -> dict[str, Any]:
    """Translate every question, or take the translation that is ready."""
    from langtransfer.config.evaluation import TranslateBenchmarkCell
    from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
    from langtransfer.evaluation.questions import read_questions
    from langtransfer.evaluation.summaries import write_json
    from langtransfer.evaluation.translation import changed_spans

    config = job.config(TranslateBenchmarkCell)
    questions = read_questions(job.parent("source"))  # they are well-formed
    rows = list(read_jsonl(job.parent("source") / "questions.jsonl"))
    spent: dict[str, Any] = {}
    if config.ready is not None:
        translated, by = ready(job, config, rows), f"{config.ready.key} (ready)"
    else:
        translated, by, spent = translated_by_model(job, config, rows)
    write_jsonl(job.out / "questions.jsonl", translated)
    changed = changed_spans(rows, translated, config.source)
    write_json(
        job.out / "stats.json", {"items": len(translated), "by": by, "changed_spans": changed}
    )
    return {"items": len(questions)} | spent


def ready(job: Job, config: TranslateBenchmarkCell, rows: Rows) -> Rows:
    """The texts of the file in the registry."""
    from langtransfer.config.evaluation import FetchBenchmarkCell
    from langtransfer.corpus.registry import fetch
    from langtransfer.evaluation.benchmarks.questions import read_questions
    from langtransfer.evaluation.translation import adopt
    from langtransfer.resources import locate

    assert config.ready is not None
    paths = fetch(locate(job.runtime.registry), config.ready, config.language, job.work)
    everything = FetchBenchmarkCell(
        kind="response-quality",
        format="llm-eval",
        language=config.language,
        items=None,
        subjects=None,
        shots=0,
        split="test",
        seed=1,
        identity=config.ready,
    )
    return adopt(rows, read_questions(everything, paths), " ".join(map(str, paths.values())))


def translated_by_model(
    job: Job, config: TranslateBenchmarkCell, rows: Rows
) -> tuple[Rows, str, dict[str, Any]]:
    """Translations of a chat model; each is kept in the cache of verdicts."""
    from langtransfer.evaluation.chat import ask_all
    from langtransfer.evaluation.chat_client import Chat, Request, service_of
    from langtransfer.evaluation.translation import translate

    translator = config.translator
    assert translator is not None, "the planner gives a translator where nothing is ready"
    spent: dict[str, Any] = {}

    def ask(requests: Sequence[Request], chat: Chat) -> list[dict[str, str]]:
        answers, facts = ask_all(
            requests,
            chat,
            service_of(job.runtime),
            f"{job.cell}/{job.key}",
            lambda done: job.progress(done, len(requests), "questions"),
        )
        spent.update(facts)
        return answers

    translated = translate(rows, translator, config.source, config.language, ask)
    return translated, f"{translator.model}@{translator.prompt}", spent


if __name__ == "__main__":
    main("translate_benchmark", run, __doc__)
