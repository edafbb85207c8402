"""The report's tables: one record per row of the study, intervals over items.

Columns are documented in docs/tables.md; a test holds the two together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from langtransfer.config.evaluation import EXAMS, ReportingConfig, ReportRow
from langtransfer.reporting.columns import MODEL, PAPER_SCORES, SCORES, TUNING, identity
from langtransfer.reporting.contrasts import estimate
from langtransfer.reporting.csvfile import Record, number
from langtransfer.reporting.knowledge_averages import COLUMNS as AVERAGE_COLUMNS
from langtransfer.reporting.knowledge_averages import average_rows
from langtransfer.reporting.paper import load_paper, paper_scores
from langtransfer.reporting.results import Observations, is_base, on_target
from langtransfer.reporting.retained import retained_rows
from langtransfer.reporting.switched_prompts import COLUMNS as SWITCHED_COLUMNS
from langtransfer.reporting.switched_prompts import switched_rows
from langtransfer.reporting.switching import (
    MATRIX_COLUMNS,
    QUALITY_COLUMNS,
    matrix_rows,
    quality_rows,
)
from langtransfer.statistics.intervals import wilson

COLUMNS: dict[str, tuple[str, ...]] = {
    "table1_response_quality": (
        *MODEL, *TUNING, "benchmark", "judge", *SCORES, "low", "high", "n",
        "paper_label", *PAPER_SCORES, "paper_AVG_recomputed", "paper_flag",
    ),
    "table2_perplexity": (
        *MODEL, *TUNING, "evaluated", "perplexity", "ppl_low", "ppl_high", "bits_per_byte",
        "bpb_low", "bpb_high", "bits_per_character", "documents", "tokens", "bytes",
        "paper_label", "paper_perplexity",
    ),
    "table3_languages": (
        "language", "label", *TUNING, "benchmark", "judge", *SCORES, "low", "high", "n",
        *PAPER_SCORES, "paper_flag",
    ),
    "figure2_knowledge": (
        *MODEL, *TUNING, "evaluated", "benchmark", "accuracy", "low", "high", "n", "chance",
    ),
    "knowledge_averages": (*MODEL, *TUNING, "evaluated", "benchmark", *AVERAGE_COLUMNS),
    "figure4_code_switching": (
        *MODEL, *TUNING, "benchmark", "rate", "low", "high", "n", "by_line", "by_word",
        "intruders", "paper_low", "paper_high", "empty", "lpr", "wpr", "identifier",
    ),
    "alignment": (
        *MODEL, *TUNING, "evaluated", "benchmark", "layer", "layers", "best", "retrieval", "low",
        "high", "n", "chance",
    ),
    "switched_prompts": (*MODEL, *TUNING, "evaluated", "benchmark", *SWITCHED_COLUMNS),
    "written_exams": (
        *MODEL, *TUNING, "evaluated", "benchmark", "judge", *SCORES, "low", "high", "n",
    ),
    "english_retained": (
        *MODEL, *TUNING, "evaluated", "metric", "benchmark", "value", "low", "high",
        "base_value", "change", "change_low", "change_high", "n",
    ),
    "switching_matrix": MATRIX_COLUMNS,
    "switching_quality": QUALITY_COLUMNS,
    "vocabulary": (
        "vocabulary", "language", "size", "new_pieces", "texts", "differing", "bad_round_trips",
        "rewritten", "engine", "lines", "words", "characters", "bytes", "tokens",
        "tokens_per_word", "tokens_per_character", "tokens_per_byte", "compression",
        "lines_changed", "lines_changed_share", "new_pieces_used", "new_pieces_used_share",
        "parity", "base_parity", "parity_documents",
    ),
    "by_category": (
        *MODEL, *TUNING, "evaluated", "benchmark", "metric", "category", "value", "low", "high",
        "n",
    ),
}  # fmt: skip

# Figure 4 of the paper prints no values; its prose says roughly 2 % to 5 % of samples.
PAPER_SWITCHING = (0.02, 0.05)


def make_tables(
    results: Sequence[Observations],
    vocabularies: Sequence[Record],
    judge: str,
    settings: ReportingConfig,
) -> dict[str, list[Record]]:
    """Records of every table, in the order of results and of the gates' reports.

    Answers to switched prompts, and written exams, stand in tables of their own alone.
    """
    exams = [found for found in results if found.row.format in EXAMS]
    switched = list(switched_rows(results, settings))
    results = [o for o in results if o.row.prompts == "plain" and o.row.format not in EXAMS]

    def rows(stage: str, keep: Callable[[ReportRow], bool]) -> list[Observations]:
        return [found for found in results if found.row.stage == stage and keep(found.row)]

    quality = rows("score", on_target)
    base = [found for found in quality if is_base(found.row)]
    return {
        "table1_response_quality": [quality_row(found, judge, settings) for found in quality],
        "table2_perplexity": [
            perplexity_row(found, settings) for found in rows("perplexity", lambda _: True)
        ],
        "table3_languages": [language_row(found, judge, settings) for found in base],
        "figure2_knowledge": [
            knowledge_row(found, settings) for found in rows("knowledge", lambda _: True)
        ],
        "knowledge_averages": [
            {**identity(found.row, *MODEL, *TUNING, "evaluated", "benchmark"), **average}
            for found in rows("knowledge", lambda _: True)
            for average in average_rows(found, settings)
        ],
        "figure4_code_switching": [
            switching_row(found, settings) for found in rows("code_switching", on_target)
        ],
        "alignment": [
            record
            for found in rows("alignment", on_target)
            for record in layer_rows(found, settings)
        ],
        "switched_prompts": [
            {**identity(found.row, *MODEL, *TUNING, "evaluated", "benchmark"), **rates}
            for found, rates in switched
        ],
        "written_exams": [exam_row(found, judge, settings) for found in exams],
        "english_retained": list(retained_rows(results, settings)),
        "vocabulary": list(vocabularies),
        "switching_matrix": list(matrix_rows(results, settings)),
        "switching_quality": list(quality_rows(results, settings)),
        "by_category": [
            record for found in (*results, *exams) for record in category_rows(found, settings)
        ],
    }


def quality_row(found: Observations, judge: str, settings: ReportingConfig) -> Record:
    """One row of Table 1: five aspects, their mean with its interval, the paper's row beside."""
    row = found.row
    # The paper's Table 1 is Chinese only.
    printed = load_paper().quality.get((row.label, row.tuning)) if row.language == "zh" else None
    return {
        **identity(row, *MODEL, *TUNING, "benchmark"),
        **_scores(found, judge, settings),
        "paper_label": printed["label"] if printed else None,
        **paper_scores(printed),
        "paper_AVG_recomputed": number(printed["AVG_recomputed"]) if printed else None,
        "paper_flag": printed["flag"] if printed else None,
    }


def _scores(found: Observations, judge: str, settings: ReportingConfig) -> Record:
    interval = estimate(found, "AVG", settings)
    means: Record = {name: float(found.values[name].mean()) for name in SCORES}
    return means | {
        "judge": judge, "low": interval.low, "high": interval.high, "n": found.n,
    }  # fmt: skip


def exam_row(found: Observations, judge: str, settings: ReportingConfig) -> Record:
    """Written answers to exam questions, judged; the paper has none."""
    return {
        **identity(found.row, *MODEL, *TUNING, "evaluated", "benchmark"),
        **_scores(found, judge, settings),
    }


def language_row(found: Observations, judge: str, settings: ReportingConfig) -> Record:
    """One row of Table 3: the base model tuned in a language, the paper's row beside."""
    printed = load_paper().languages.get((found.row.language, found.row.tuning))
    return {
        **identity(found.row, "language", "label", *TUNING, "benchmark"),
        **_scores(found, judge, settings),
        **paper_scores(printed),
        "paper_flag": printed["flag"] if printed else None,
    }


def perplexity_row(found: Observations, settings: ReportingConfig) -> Record:
    """One row of Table 2; intervals resample documents."""
    row, values = found.row, found.values
    bits = estimate(found, "bits_per_byte", settings)
    perplexity = np.exp(np.array(estimate(found, "log_perplexity", settings))).tolist()
    sums = {name: float(values[name].sum()) for name in ("nats", "tokens", "bytes", "characters")}
    printed = load_paper().perplexity.get((row.label, row.evaluated))
    printed = printed if row.language == "zh" else None
    return {
        **identity(row, *MODEL, *TUNING, "evaluated"),
        "perplexity": perplexity[0], "ppl_low": perplexity[1], "ppl_high": perplexity[2],
        "bits_per_byte": bits.value, "bpb_low": bits.low, "bpb_high": bits.high,
        "bits_per_character": float(sums["nats"] / np.log(2) / sums["characters"]),
        "documents": found.n, "tokens": int(sums["tokens"]), "bytes": int(sums["bytes"]),
        "paper_label": row.label if printed else None, "paper_perplexity": printed,
    }  # fmt: skip


def knowledge_row(found: Observations, settings: ReportingConfig) -> Record:
    """Accuracy on one benchmark; Wilson's interval where answers are just right or wrong."""
    correct, chance = found.values["correct"], found.values["chance"]
    value, low, high = estimate(found, "accuracy", settings)
    if np.isin(correct, (0, 1)).all():
        low, high = wilson(int(correct.sum()), found.n, settings.confidence)
    return {
        **identity(found.row, *MODEL, *TUNING, "evaluated", "benchmark"),
        "accuracy": value, "low": low, "high": high, "n": found.n,
        "chance": float(chance.mean()),
    }  # fmt: skip


def switching_row(found: Observations, settings: ReportingConfig) -> Record:
    """Share of answers that leave the language asked for, with Wilson's interval."""
    intruders = Counter(name for names in found.intruders for name in names)
    row: Record = {
        **identity(found.row, *MODEL, *TUNING, "benchmark"),
        "rate": None, "low": None, "high": None, "n": found.n,
        "by_line": None, "by_word": None,
        "intruders": " ".join(f"{name}:{count}" for name, count in sorted(intruders.items())),
        "paper_low": PAPER_SWITCHING[0], "paper_high": PAPER_SWITCHING[1],
        "empty": sum(found.summary["empty"].values()),
        **{k: found.summary["language_confusion"][k] for k in ("lpr", "wpr", "identifier")},
    }  # fmt: skip
    if not found.n:
        return row
    interval = wilson(int(found.values["any"].sum()), found.n, settings.confidence)
    return row | {
        "rate": float(found.values["any"].mean()), "low": interval.low, "high": interval.high,
        "by_line": float(found.values["by_line"].mean()),
        "by_word": float(found.values["by_word"].mean()),
    }  # fmt: skip


def layer_rows(found: Observations, settings: ReportingConfig) -> Iterator[Record]:
    """Retrieval between parallel documents at every layer, the best one marked."""
    layers = sum(name.startswith("layer_") for name in found.values)
    best = int(found.values["layer"][0])
    for layer in range(layers):
        hits = replace(found, values={"correct": found.values[f"layer_{layer}"]})
        value, low, high = estimate(hits, "retrieval", settings)
        yield {
            **identity(found.row, *MODEL, *TUNING, "evaluated", "benchmark"),
            "layer": layer, "layers": layers - 1, "best": layer == best,
            "retrieval": value, "low": low, "high": high, "n": found.n,
            "chance": float(found.values["chance"][0]),
        }  # fmt: skip


CATEGORY = {"score": "AVG", "knowledge": "accuracy", "code_switching": "switched"}


def category_rows(found: Observations, settings: ReportingConfig) -> Iterator[Record]:
    """A metric within each category (response quality, code-switching) or subject (knowledge)."""
    metric = CATEGORY.get(found.row.stage)
    if metric is None:
        return
    categories = np.array(found.categories)
    for category in sorted(set(found.categories)):
        chosen = categories == category
        value = estimate(found, metric, settings, chosen)
        yield {
            **identity(found.row, *MODEL, *TUNING, "evaluated", "benchmark"),
            "metric": metric, "category": category, "value": value.value, "low": value.low,
            "high": value.high, "n": int(chosen.sum()),
        }  # fmt: skip
