"""The atlas: a parallel world in every language, made from what babel (CLDR) knows.

It stands in for corpora, instructions and benchmarks where none can be had. Numbers and seeds
decide everything: the same call gives the same bytes in any process, and the same id says the
same in every language. See resources/atlas/README.md for the template files.
"""

from langtransfer.corpus.atlas.exams import Question, knowledge, questions
from langtransfer.corpus.atlas.loading import load_templates
from langtransfer.corpus.atlas.pairs import instructions
from langtransfer.corpus.atlas.stories import documents
from langtransfer.corpus.atlas.tasks import CATEGORIES
from langtransfer.corpus.atlas.templates import Templates

__all__ = [
    "CATEGORIES",
    "Question",
    "Templates",
    "documents",
    "instructions",
    "knowledge",
    "load_templates",
    "questions",
]
