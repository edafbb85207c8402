"""Give each of the paper's claims a verdict, and each language its advice.

Example: python -m scripts.claims --recipe recipes/claims/study/<key>.json
Reads: results.<cell>/{scores,predictions,documents,alignment,code_switching}.jsonl,
       resources/claims.yaml
Writes: claims.csv claims_parts.csv evidence.csv answers.csv recipes.csv crossover.csv
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Test the claims and weigh the evidence of every language."""
    from langtransfer.config.evaluation import ClaimsCell
    from langtransfer.reporting import advice, answers, claims, crossover
    from langtransfer.reporting.claim_data import load_claims
    from langtransfer.reporting.csvfile import write_csv
    from langtransfer.reporting.paper import CLAIMS
    from langtransfer.reporting.results import load_results, sort_key

    config = job.config(ClaimsCell)
    results = load_results(sorted(config.rows, key=sort_key), job.group("results"))
    verdicts, parts = claims.judge(load_claims(CLAIMS), results, config)
    write_csv(job.out / "claims.csv", claims.COLUMNS, verdicts)
    write_csv(job.out / "claims_parts.csv", claims.PART_COLUMNS, parts)
    advised = advice.advise(results, config)
    write_csv(job.out / "evidence.csv", answers.EVIDENCE_COLUMNS, advised.evidence)
    write_csv(job.out / "answers.csv", advice.ANSWER_COLUMNS, advised.answers)
    write_csv(job.out / "recipes.csv", advice.RECIPE_COLUMNS, advised.recipes)
    crossings = crossover.crossover(results, config)
    write_csv(job.out / "crossover.csv", crossover.COLUMNS, crossings)
    return {}


if __name__ == "__main__":
    main("claims", run, __doc__)
