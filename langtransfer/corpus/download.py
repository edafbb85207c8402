"""Downloads that resume and are verified: plain https, and the Hugging Face hub."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from langtransfer.errors import UserError
from langtransfer.provenance import sha256_file

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile
    from requests import Response

CHUNK_BYTES = 1 << 16  # a cut connection loses the piece that was being read
TIMEOUT_SECONDS = (10.0, 60.0)  # our choice: to connect, between two pieces
ATTEMPTS = 5  # our choice: in a row without a new byte
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0  # our choice: doubled after each attempt
PATHS_A_REQUEST = 500  # our choice: half of what the hub answers for at once
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
REMEDIES = {
    401: "access refused (401): the source wants a log-in; use a mirror or a local copy",
    403: "access refused (403): the source wants a log-in; use a mirror or a local copy",
    404: "not found (404): correct location and files in the registry, or see the row's note",
}


class _Retry(Exception):
    """An attempt failed in a way another may not; `wait`: seconds the server asked for."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


def verify(path: Path, digest: str, place: str) -> None:
    """Raise UserError unless the file has this sha256 (any will do when it is empty)."""
    if digest and (found := sha256_file(path)) != digest:
        remedy = f"has sha256 {found}, not {digest} ({place}): fetch it again or mend the row"
        raise UserError("file", str(path), remedy)


def download(
    url: str, target: Path, digest: str, place: str, sleep: Callable[[float], None] = time.sleep
) -> Path:
    """Fetch a URL into `target`, resuming what an earlier attempt left; the verified file.

    Cut connections, time-outs, 408, 425, 429 and 5xx are tried again with doubling waits, until
    five attempts in a row bring no new byte. Proxies come from the environment.

    Raises UserError for what another attempt cannot mend, for a wrong checksum, and where no
    checksum is given: nothing else would pin the bytes.
    """
    part = target.with_name(target.name + ".part")
    resumed = part.is_file()
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        _until_whole(url, part, sleep)
        os.replace(part, target)
    if resumed and digest and sha256_file(target) != digest:
        # Its beginning was perhaps another file's, or another mirror's: once more, from nothing.
        target.unlink()
        _until_whole(url, part, sleep)
        os.replace(part, target)
    _check_pinned(target, digest, place)
    return target


def download_from_any(
    urls: Sequence[str], target: Path, digest: str, place: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:  # fmt: skip
    """As `download`, from the first of several places that has the right file.

    Raises the first place's UserError, and says how many others failed too.
    """
    errors: list[UserError] = []
    for url in urls:
        try:
            return download(url, target, digest, place, sleep)
        except UserError as error:
            errors.append(error)
    first = errors[0]
    if len(errors) == 1:
        raise first
    remedy = f"{first.remedy}; {len(errors) - 1} other places failed too: {errors[-1]}"
    raise UserError(first.field, first.value, remedy) from first


def download_from_hub(
    location: str, revision: str, files: Mapping[str, str], work: Path, place: str
) -> dict[str, Path]:
    """Files of a hub repository at a pinned commit, by name; patterns (`*.json`) are expanded.

    `location` is `datasets/org/name` or, for a model, `org/name`. HF_ENDPOINT and HF_TOKEN come
    from the environment. Raises UserError for a missing commit, token, repository or file.
    """
    from huggingface_hub import hf_hub_download

    api, kind, repo = hub_api(location)
    paths: dict[str, Path] = {}
    with hub_errors(location, place):
        if not revision:
            newest = api.repo_info(repo, repo_type=kind).sha
            raise UserError(place, location, f"no revision is given: the newest is {newest}")
        wanted = matching(api, repo, kind, revision, files)
        published = _published(api, repo, kind, revision, wanted)
        for name, digest in wanted.items():
            paths[name] = Path(
                hf_hub_download(
                    repo, name, repo_type=kind, revision=revision, local_dir=work / "hub",
                    token=api.token, endpoint=api.endpoint,
                )
            )  # fmt: skip
            _keep_if_right(paths[name], digest, place)
            _keep_if_published(paths[name], published[name], place)
    return paths


def _published(
    api: HfApi, repo: str, kind: str, revision: str, wanted: Mapping[str, str]
) -> dict[str, RepoFile]:
    """What the commit's tree says of the files; UserError naming one it does not have."""
    from huggingface_hub import RepoFile

    names = sorted(wanted)
    found: dict[str, RepoFile] = {}
    for at in range(0, len(names), PATHS_A_REQUEST):
        some = names[at : at + PATHS_A_REQUEST]
        for info in api.get_paths_info(repo, some, revision=revision, repo_type=kind):
            if isinstance(info, RepoFile):
                found[info.path] = info
    if missing := sorted(wanted.keys() - found):
        remedy = f"no such file at this revision of {repo}: correct files in the row"
        raise UserError("files", missing[0], remedy)
    return found


def _keep_if_published(path: Path, info: RepoFile, place: str) -> None:
    """Verify a file against the commit's tree: large ones by sha256, others by git's own hash."""
    if info.lfs is not None:
        return _keep_if_right(path, info.lfs.sha256, place)
    data = path.read_bytes()
    found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    if found != info.blob_id:
        path.unlink()
        remedy = f"has git hash {found}, not the commit's {info.blob_id} ({place}): fetch it again"
        raise UserError("file", str(path), remedy)


def hub_api(location: str) -> tuple[HfApi, str, str]:
    """The hub's client, and the kind and name of the repository a location means."""
    from huggingface_hub import HfApi

    kind, repo = (
        ("dataset", location[9:]) if location.startswith("datasets/") else ("model", location)
    )
    token = os.environ.get("HF_TOKEN") or False
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token), kind, repo


def _check_pinned(target: Path, digest: str, place: str) -> None:
    """The checksum is given and right."""
    if not digest:
        remedy = f"no sha256 is given: check the source, then put {sha256_file(target)} there"
        raise UserError(place, target.name, remedy)
    _keep_if_right(target, digest, place)


def _keep_if_right(target: Path, digest: str, place: str) -> None:
    """Verify what was fetched; a wrong file is removed, so that the next run fetches it again."""
    try:
        verify(target, digest, place)
    except UserError:
        target.unlink()
        raise


def _until_whole(url: str, part: Path, sleep: Callable[[float], None]) -> None:
    """Attempts until the whole file is in `part`."""
    failures = 0
    while True:
        before = _size(part)
        try:
            return _attempt(url, part)
        except _Retry as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                remedy = f"{error}, {ATTEMPTS} times: check network and proxy, then run again"
                raise UserError("download", url, remedy) from error
            wait = max(FIRST_WAIT_SECONDS * 2**failures, error.wait)
            sleep(min(wait, LONGEST_WAIT_SECONDS))


def _attempt(url: str, part: Path) -> None:
    """One request for what is still missing, appended to `part`."""
    import requests

    have = _size(part)
    # identity: ranges and checksums of a compressed transfer would be those of other bytes
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if not _is_whole(response, part):
                _check_status(response, url, part)
                _append(response, part)
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as e:
        raise _Retry(f"connection failed ({type(e).__name__})") from e
    except requests.RequestException as error:
        raise UserError("download", url, f"{error}: correct the location") from error


def _is_whole(response: Response, part: Path) -> bool:
    """The server has nothing to add to what an earlier run left (it died before renaming)."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return response.status_code == 416 and total == str(_size(part))


def _check_status(response: Response, url: str, part: Path) -> None:
    """UserError for a final refusal, _Retry for a passing one."""
    status = response.status_code
    if status == 416:  # more bytes here than there: another file; begin again
        part.unlink()
        raise _Retry("the source has changed")
    if status in TRANSIENT:
        asked = response.headers.get("Retry-After", "")
        raise _Retry(f"status {status}", float(asked) if asked.isdigit() else 0.0)
    if status not in (200, 206):
        raise UserError("download", url, REMEDIES.get(status, f"refused with status {status}"))


def _append(response: Response, part: Path) -> None:
    """Write the answer's bytes; from the start when the server ignored the range.

    A bar shows how far it is where a terminal is looking on.
    """
    resumed = response.status_code == 206
    have, length = (_size(part) if resumed else 0), response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    name = part.name.removesuffix(".part")
    with (
        tqdm(desc=name, initial=have, total=total, unit="B", unit_scale=True, disable=None) as bar,
        part.open("ab" if resumed else "wb") as out,
    ):
        for chunk in response.iter_content(CHUNK_BYTES):
            out.write(chunk)
            bar.update(len(chunk))


def is_pattern(name: str) -> bool:
    """Whether a file's name stands for those that fit it."""
    return any(character in name for character in "*?[")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def matching(
    api: HfApi, repo: str, kind: str, revision: str, files: Mapping[str, str]
) -> dict[str, str]:
    """Names in the repository -> checksum, patterns expanded against its listing."""
    if not any(is_pattern(name) for name in files):
        return dict(sorted(files.items()))
    there = api.list_repo_files(repo, repo_type=kind, revision=revision)
    return {name: digest for pattern, digest in sorted(files.items())
            for name in _matches(sorted(there), pattern, repo)}  # fmt: skip


def _matches(there: Sequence[str], pattern: str, repo: str) -> list[str]:
    found = [name for name in there if fnmatchcase(name, pattern)]
    if not found:
        raise UserError("files", pattern, f"matches no file of {repo}: correct the registry")
    return found


@contextmanager
def hub_errors(location: str, place: str) -> Iterator[None]:
    """The hub client's errors as one line each."""
    from huggingface_hub import errors

    def user_error(remedy: str) -> UserError:
        return UserError(place, location, remedy)

    try:
        yield
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise user_error("the hub cannot be reached: check network, proxy, HF_ENDPOINT") from error
    except errors.RevisionNotFoundError as error:
        raise user_error("no such revision on the hub: correct the row") from error
    except errors.EntryNotFoundError as error:
        raise user_error("no such file at this revision: correct files in the row") from error
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        remedy = "gated, private or unknown: ask for access on the hub and set HF_TOKEN"
        raise user_error(remedy) from error
    except errors.HfHubHTTPError as error:
        raise user_error(f"the hub refused ({error.response.status_code}): try later") from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # httpx's, re-exported
        raise user_error(f"no answer from the hub ({type(error).__name__})") from error
