"""Cleaning documents: normalise the text, then keep it or say why not."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from langtransfer.config.corpus import CleanCorpusCell
from langtransfer.errors import UserError

REASONS = ("short", "long", "symbols", "language", "duplicate")
"""Why a document is dropped, in the order the tests are made: the cheap ones first."""

# Control characters other than tab and line feed, byte order marks and specials: never text.
_JUNK = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\ufeff\ufff9-\ufffb]")
_LINE_ENDS = re.compile("\r\n?|\u2028|\u2029")


def normalise(text: str, form: Literal["NFC", "NFKC", "none"]) -> str:
    """Text in a Unicode form (NFC, NFKC or `none`), LF line ends, without control characters."""
    text = _JUNK.sub("", _LINE_ENDS.sub("\n", text))
    return (text if form == "none" else unicodedata.normalize(form, text)).strip()


def symbol_share(text: str) -> float:
    """Share of the characters that are neither letters, marks, numbers nor white space."""
    symbols = sum(not (c.isspace() or unicodedata.category(c)[0] in "LMN") for c in text)
    return symbols / len(text) if text else 0.0


class Cleaner:
    """Normalises documents one after another and remembers which texts it has seen.

    Memory: 16 bytes and a set entry (about 100 bytes) per distinct document.
    """

    def __init__(self, config: CleanCorpusCell) -> None:
        self.config = config
        self._seen: set[bytes] = set()
        self._identify = language_identifier(config.language) if config.language_id else None

    def clean(self, text: str) -> tuple[str, str | None]:
        """The normalised text, and the reason to drop it or None."""
        text = normalise(text, self.config.unicode_form)
        return text, self._reason(text)

    def _reason(self, text: str) -> str | None:
        config = self.config
        if len(text) < config.min_characters:
            return "short"
        if len(text) > config.max_characters:
            return "long"
        if config.max_symbol_share < 1 and symbol_share(text) > config.max_symbol_share:
            return "symbols"
        if self._identify is not None and self._identify(text) != config.language:
            return "language"
        return "duplicate" if config.exact_duplicates and self._is_repeated(text) else None

    def _is_repeated(self, text: str) -> bool:
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        repeated = digest in self._seen
        self._seen.add(digest)
        return repeated


def language_identifier(language: str) -> Callable[[str], str]:
    """py3langid's guess of a text's language among the 97 it knows.

    Raises UserError when the language is not one of them: every document would be dropped.
    """
    from py3langid import langid

    langid.classify("load")  # the model is read on the first call
    known = langid.IDENTIFIER.labels
    if language not in known:
        remedy = f"py3langid does not know {language}: set clean_corpus.language_id: false"
        raise UserError("clean_corpus.language_id", True, remedy)
    return lambda text: str(langid.classify(text)[0])
