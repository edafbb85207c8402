"""A full disk, told from a bug, whoever noticed it first."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langtransfer.errors import UserError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# Our choice: with less than this no log, manifest or record of Snakemake's can be counted on.
SPARE_BYTES = 1 << 20


def is_no_space(error: BaseException) -> bool:
    """Whether an error says that the disk is full; safetensors only does so in its text."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return True
    return "No space left on device" in str(error)


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder, or of the nearest one above that is there, has no room."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free < SPARE_BYTES


def no_space(folder: Path) -> UserError:
    """The one line for a full disk."""
    remedy = "no space left on device: free some and run again, nothing is lost"
    return UserError("disk", os.path.abspath(folder), remedy)


@contextmanager
def full_disk_explained(folder: Path, half_written: Path | None = None) -> Iterator[None]:
    """UserError for whatever fails because the disk of a folder is full.

    torch.save turns a failed write into an error of its own that names no reason, so the disk is
    looked at as well. What is half-written gives way to the log and to Snakemake's records.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # native writers raise anything; what is not a full disk goes on
        if not (is_no_space(error) or is_full(folder)):
            raise
        if half_written is not None:
            shutil.rmtree(half_written, ignore_errors=True)
        raise no_space(folder) from error
