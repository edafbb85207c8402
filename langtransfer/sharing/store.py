"""DVC's cache and remote, through DVC's own libraries: add, upload, download, place.

Only the main process calls this, serially, before or after a run. Cache and data are hard links
of one file (symbolic links across file systems), so a checkpoint is stored once; no stage ever
writes into a finished `data/`, which is replaced by renaming whole folders.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langtransfer.errors import UserError
from langtransfer.sharing.addresses import without_credentials

MD5 = "md5"
OID = re.compile(r"[0-9a-f]{32}(\.dir)?")
Names = Mapping[str, str]  # file inside a data folder -> object id


class Store:
    """The DVC repository in a folder. UserError where there is none."""

    def __init__(self, root: Path = Path(".")) -> None:
        from dvc.exceptions import NotDvcRepoError
        from dvc.repo import Repo

        try:
            self._repo = Repo(str(root))
        except NotDvcRepoError:
            raise UserError("DVC", str(root.absolute()), "no DVC repository: dvc init") from None
        self.cache = self._repo.cache.local

    def close(self) -> None:
        """Let go of DVC's databases."""
        self._repo.close()

    def add(self, data: Path) -> dict[str, Any]:
        """Put a folder's files into the cache and leave links to them; what a pointer says of it.

        Killed at any moment, every file of the folder is still there.
        """
        from dvc_data.hashfile.build import build
        from dvc_data.hashfile.transfer import transfer

        path = os.path.abspath(data)
        staging, meta, tree = build(self.cache, path, self._repo.fs, MD5)
        result = transfer(staging, self.cache, {tree.hash_info}, shallow=False, hardlink=True)
        if result.failed:
            raise UserError("DVC cache", self.cache.path, f"cannot take the files of {data}")
        for name, oid in _names(tree).items():
            self._link(data / name, self.path(oid))
        return {
            "md5": tree.oid,
            "size": meta.size,
            "nfiles": meta.nfiles,
            "hash": MD5,
            "path": data.name,
        }

    def upload(self, oids: Sequence[str], remote: str | None = None) -> int:
        """Bring folders to the remote, whatever is missing of them there; how many objects went.

        Every object is looked for: DVC's own push takes a folder's list for all of its files.
        """
        from dvc_data.hashfile.transfer import transfer

        odb = self._remote(remote, "push")
        with _remote_errors(remote), _progress("uploading") as callback:
            result = transfer(
                self.cache, odb, set(map(_hash_info, oids)), shallow=False, callback=callback
            )
        if result.failed:
            raise UserError(
                "remote",
                remote or "default",
                f"{len(result.failed)} files not taken: publish again",
            )
        return len(result.transferred)

    def forget(self, oids: Sequence[str], remote: str | None = None) -> None:
        """Delete folders' objects from the remote, so that `upload` brings them again."""
        odb = self._remote(remote, "push")
        with _remote_errors(remote):
            for oid in oids:
                for part in {oid, *self.names(oid).values()}:
                    if odb.exists(part):
                        odb.delete(part)

    def download(
        self, oids: Sequence[str], remote: str | None = None, source: Store | None = None
    ) -> None:
        """Bring folders from the remote (of another repository) into the cache, if it has them."""
        from dvc_data.hashfile.transfer import transfer

        odb = (source or self)._remote(remote, "pull")
        with _remote_errors(remote):
            self._download_lists(oids, odb)
            found = [oid for oid in oids if self.names(oid)]
            files = {_hash_info(part) for oid in found for part in self.names(oid).values()}
            with _progress("downloading") as callback:
                transfer(odb, self.cache, files, callback=callback)

    def _download_lists(self, oids: Sequence[str], odb: Any) -> None:
        """Bring folders' lists of files; as plain files, for one that is damaged is not read."""
        wanted = [oid for oid in oids if self._tree(oid) is None]
        there = list(odb.oids_exist(wanted)) if wanted else []
        if there:
            self.cache.add([odb.oid_to_path(oid) for oid in there], odb.fs, there)

    def place(self, oid: str, folder: Path) -> None:
        """Make a new folder with links to a whole folder of the cache."""
        from dvc_data.hashfile.checkout import checkout

        folder.mkdir(parents=True)
        checkout(os.path.abspath(folder), self._repo.fs, self._tree(oid), self.cache)

    def address(self, remote: str | None = None) -> str:
        """Where a remote is, without user name and password."""
        odb = self._remote(remote, "pull")
        address = str(odb.fs.unstrip_protocol(odb.path)).removesuffix("/files/md5")
        return without_credentials(address)

    def names(self, oid: str) -> Names:
        """Files of a folder and their objects; none where the cache lacks its list."""
        tree = self._tree(oid)
        return {} if tree is None else _names(tree)

    def path(self, oid: str) -> Path:
        """Where the cache keeps an object."""
        return Path(self.cache.oid_to_path(oid))

    def drop(self, oid: str) -> None:
        """Remove an object from the cache."""
        self.path(oid).unlink(missing_ok=True)

    def _tree(self, oid: str) -> Any:
        from dvc_data.hashfile.tree import Tree

        if OID.fullmatch(oid) is None:
            return None
        path = self.path(oid)
        if not path.exists():
            return None
        # A list's name is the md5 of its bytes: one that was changed is not even read.
        if f"{hashlib.md5(path.read_bytes()).hexdigest()}.dir" != oid:
            self.drop(oid)
            return None
        tree = Tree.load(self.cache, _hash_info(oid))
        return tree if _stays_inside(tree) else None

    def _remote(self, name: str | None, command: str) -> Any:
        from dvc.config import ConfigError

        try:
            return self._repo.cloud.get_remote_odb(name, command)
        except ConfigError as error:
            remedy = "add one: dvc remote add --default lab <folder, ssh:// or s3:// address>"
            raise UserError("remote", name or str(error).split(".")[0], remedy) from None

    def _link(self, file: Path, cached: Path) -> None:
        """Let a file be a link to its object; it is there, whole, at every moment."""
        if os.path.samefile(file, cached):
            return
        temporary = file.with_name(f".{file.name}.link")
        temporary.unlink(missing_ok=True)
        try:
            os.link(cached, temporary)
        except OSError:  # the cache is on another file system
            temporary.symlink_to(cached.absolute())
        os.replace(temporary, file)


def object_name(oid: str) -> str:
    """Where an object lies below a remote's root."""
    return f"files/md5/{oid[:2]}/{oid[2:]}"


def _hash_info(oid: str) -> Any:
    from dvc_data.hashfile.hash_info import HashInfo

    return HashInfo(MD5, oid)


def _stays_inside(tree: Any) -> bool:
    """Whether a list of files, which another lab may have written, names nothing else's paths."""
    return all(
        OID.fullmatch(info.value)
        and not {"", ".", ".."} & set(parts)
        and not any("/" in p for p in parts)
        for parts, _, info in tree
    )


def _names(tree: Any) -> Names:
    return {"/".join(key): info.value for key, _, info in tree}


@contextmanager
def open_store(root: Path = Path(".")) -> Iterator[Store]:
    """The store of a folder, closed at the end."""
    store = Store(root)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    from dvc_data.callbacks import TqdmCallback

    with TqdmCallback(desc=what, unit="file") as callback:
        yield callback


@contextmanager
def _remote_errors(remote: str | None) -> Iterator[None]:
    """One line for a remote that cannot be reached: each kind raises its own library's errors."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # fsspec, paramiko and botocore share no class; the cause is kept
        what = without_credentials(" ".join(f"{type(error).__name__}: {error}".split()))[:200]
        raise UserError("remote", remote or "default", what) from error
