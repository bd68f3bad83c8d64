"""The store: `.sftrecipe/`, where every stage's results live under their key.

    objects/<key>/part-00000.rows.parquet     columns that the stage added (aligned with the rows it read)
                  part-00000.index.npy        numbers of the rows that stay
                  part-00000.ledger.parquet   what became of the others
                  <name>.artefact.*           named results
                  part-00000.json             a finished part: counts, files, sha256
                  manifest.json               appears last: the artefact is complete
    runs/, last/, locks/, requests.sqlite

Files appear by rename, so a file that is there is whole. Every file that is read is compared with its sha256 once a
process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sftrecipe.errors import StepError, StoreDamaged

__all__ = ["Store", "atomic_bytes", "atomic_json", "fsync_folder", "read_sealed", "sha256_of", "write_sealed"]

_verified: dict[str, tuple[int, int, int, str]] = {}


class Store:
    """One `.sftrecipe` folder. Safe to share between runs: whoever computes a key holds its lock."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.evicted: list[str] = []

    def open(self) -> None:
        """Makes the folder. Raises StepError R660 if it cannot be written."""
        try:
            for name in ("objects", "locks", "last", "runs"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
            ignore = self.root / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise StepError(
                f"the store {self.root} cannot be written: {error.strerror}",
                code="R660",
                help="give another with --store",
            ) from error

    def folder(self, key: str) -> Path:
        """Where the files of a key live."""
        return self.root / "objects" / key

    def manifest(self, key: str) -> dict[str, Any] | None:
        """The manifest of a complete artefact, or None. A torn, altered or foreign manifest counts as none."""
        data = None if self.folder(key).is_symlink() else read_sealed(self.folder(key) / "manifest.json")
        return data if data is not None and data.get("key") == key else None

    def complete(self, key: str, manifest: Mapping[str, Any]) -> None:
        """Makes the artefact visible as complete."""
        for left in self.folder(key).glob(".*.part"):  # of a killed run: whoever completes a key holds its lock
            left.unlink(missing_ok=True)
        fsync_folder(self.folder(key))
        write_sealed(self.folder(key) / "manifest.json", {**manifest, "key": key})

    def evict(self, key: str) -> None:
        """Forgets an artefact whose files are not what was written."""
        self.evicted.append(key)
        folder = self.folder(key)
        if folder.is_symlink():
            folder.unlink()
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def lock(self, name: str, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
        """Holds a lock for the time of the block. The kernel frees it when its holder dies. Not for network file
        systems.
        """
        path = self.root / "locks" / name
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if on_wait:
                    on_wait(holder(file))
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield

    @contextmanager
    def claim(self, target: Path) -> Iterator[None]:
        """Holds an output path. Raises StepError R661 with the holder if another run writes there."""
        name = "out-" + hashlib.sha256(str(target.absolute()).encode()).hexdigest()[:16]
        with (self.root / "locks" / name).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StepError(
                    f"{target} is being written by process {holder(file)}",
                    code="R661",
                    help="wait for it, or write elsewhere",
                ) from None
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield


def holder(file: Any) -> str:
    """Who holds a lock: `pid on host`."""
    file.seek(0)
    return file.read().strip() or "unknown"


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            made.update(block)
    return made.hexdigest()


def check_file(path: Path, sha: str) -> None:
    """Raises StoreDamaged unless the file is a plain file with this sha256. Looks once a process, as long as the file
    is the same.
    """
    key = path.parent.name  # carried in `step`: who catches it evicts that key
    try:
        stat = path.lstat()
    except OSError:
        raise StoreDamaged(f"{path.name} is gone from the store", step=key, code="R662") from None
    if not os.path.isfile(path) or path.is_symlink():
        raise StoreDamaged(f"{path.name} in the store is no plain file", step=key, code="R662")
    mark = (stat.st_size, stat.st_mtime_ns, stat.st_ino, sha)
    if _verified.get(str(path)) == mark:
        return
    if sha256_of(path) != sha:
        raise StoreDamaged(f"{path.name} in the store is not what was written", step=key, code="R662")
    _verified[str(path)] = mark


def trust(path: Path, sha: str) -> None:
    """Remembers that this process wrote the file with this sha256, so that it need not be read again."""
    stat = path.lstat()
    _verified[str(path)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino, sha)


def atomic_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes a file that is there whole or not at all. Raises StepError R663 when the disk is full.

    `durable`: over a power cut too. What is cheap to find torn and to make again need not wait for the disk.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StepError(
            f"cannot write {path}: {error.strerror} ({len(data):,} bytes)", code="R663", help="free space and run again"
        ) from error


def atomic_json(path: Path, data: Any, *, durable: bool = True) -> None:
    """Writes JSON that is there whole or not at all."""
    atomic_bytes(path, json.dumps(data, ensure_ascii=False, indent=1).encode(), durable=durable)


SEAL = b'{"sha256": "'


def write_sealed(path: Path, data: Mapping[str, Any], *, durable: bool = True) -> None:
    """Writes JSON that bears the sha256 of its own bytes, so that a flipped bit is no number that anybody believes."""
    body = json.dumps(data, ensure_ascii=False, indent=1).encode()[1:]
    atomic_bytes(path, SEAL + hashlib.sha256(body).hexdigest().encode() + b'",' + body, durable=durable)


def read_sealed(path: Path) -> dict[str, Any] | None:
    """What `write_sealed` wrote; None if it is not there, is a link, or is not what was written."""
    try:
        text = b"" if path.is_symlink() else path.read_bytes()
    except OSError:
        return None
    at = len(SEAL) + 64
    body = text[at + 2 :]
    if not text.startswith(SEAL) or hashlib.sha256(body).hexdigest().encode() != text[len(SEAL) : at]:
        return None
    data: dict[str, Any] = json.loads(b"{" + body)
    return data


def fsync_folder(folder: Path) -> None:
    """Makes renames in a folder last over a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
