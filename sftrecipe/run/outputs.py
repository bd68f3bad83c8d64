"""Outputs: files appear whole or not at all, with a manifest beside them, and never over something that this tool did
not write."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe import params as declared
from sftrecipe.errors import StepError
from sftrecipe.plan import Node
from sftrecipe.run.kinds import bound, guarded
from sftrecipe.run.record import last_parts, output_manifest
from sftrecipe.run.result import Result
from sftrecipe.store import atomic_bytes, fsync_folder, sha256_of
from sftrecipe.table import Table

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["ensure_written", "given_paths", "known_files", "preflight", "put", "target_of"]


def target_of(run: Run, node: Node) -> Path:
    """Where a write puts its output; trial runs get a name of their own."""
    return _placed(run, str(node.operator.params["path"]))


def given_paths(run: Run, node: Node) -> dict[str, str]:
    """Where each `Given` parameter of a step points."""
    kinds = declared.specs(type(node.operator)).values()
    return {
        s.name: str(_placed(run, str(value)).absolute())
        for s in kinds
        if s.kind == "given" and (value := node.operator.params.get(s.name))
    }


def _placed(run: Run, text: str) -> Path:
    path = Path(run.options.out, Path(text).expanduser())
    if run.options.limit is None:
        return path
    return path.with_name(f"{_stem(path)}.limit-{run.options.limit}{path.name[len(_stem(path)) :]}")


_FIELD = re.compile(r"\{\w+\}")
FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".npz", ".npy", ".bin", ".yaml")
PACKED = (".gz", ".zst")


def _stem(path: Path) -> str:
    """The name without the suffixes that make it a file: `v1.2` is a folder's name as it stands."""
    name = path.name
    for suffixes in (PACKED, FILES):
        for suffix in suffixes:
            name = name.removesuffix(suffix)
    return name


def is_folder(path: Path) -> bool:
    """Whether an output is a folder: its name does not end in a file format's suffix."""
    return _stem(path) == path.name


def manifest_path(target: Path, *, full: bool = False) -> Path:
    """manifest.json within an output folder, NAME.manifest.json beside a file. `full`: with the suffix in NAME.

    Of several files or folders it lies in the folder above the first {column}: `out/{a}/{b}.jsonl` has
    `out/a-b.manifest.json`.
    """
    many = "{" in str(target)
    if is_folder(target) and not many:
        return target / "manifest.json"
    base = _fixed_part(target)
    name = target.name if full else _stem(target)
    name = "-".join([*target.relative_to(base).parts[:-1], name]).replace("{", "").replace("}", "")
    return base / f"{name}.manifest.json"


def _manifest_of(run: Run, node: Node, target: Path) -> Path:
    """Where the manifest of an output lies; `x.jsonl` and `x.parquet` of one recipe have one each."""
    short = manifest_path(target)
    others = [target_of(run, n) for n in run.plan.nodes.values() if n.verb == "write" and n.id != node.id]
    return manifest_path(target, full=any(manifest_path(other) == short for other in others))


def ensure_written(run: Run, node: Node, result: Result) -> dict[str, Any]:
    """What was written; written again if it is gone or is not what was written."""
    facts = dict(result.manifest["written"])
    target = target_of(run, node)
    base = Path(facts["base"]) if "base" in facts else target.parent
    if result.cached:
        whole = facts["target"] == str(target) and _whole(base, facts["files"])
        told = {name: [sha] for name, sha in facts["files"].items()}
        if not whole or known_files(_manifest_of(run, node, target)) != told:
            facts = put(run, node, result.folder, result.inputs[0], ours=whole)
    return {"step": node.id, **facts}


def _whole(base: Path, files: Mapping[str, str]) -> bool:
    return all((base / name).is_file() and sha256_of(base / name) == sha for name, sha in files.items())


def preflight(run: Run, nodes: Iterable[Node]) -> None:
    """Before anything is computed: R665 for a target below a folder that cannot be written, R664 for one that is there
    and of which neither a manifest nor this store knows.
    """
    known = last_parts(run)
    for node in nodes:
        target = target_of(run, node)
        there = next((p for p in (_fixed_part(target), *_fixed_part(target).parents) if p.exists()), Path())
        if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
            text = f"cannot write below {there}: it is {'not writable' if there.is_dir() else 'no folder'}"
            raise StepError(text, step=node.id, code="R665")
        beside = _manifest_of(run, node, target)
        if node.id not in known and not run.options.overwrite and "{" not in str(target) and not known_files(beside):
            _refuse_foreign(target, beside)


def put(run: Run, node: Node, folder: Path, source: Table, *, ours: bool = False) -> dict[str, Any]:
    """Writes into a staging folder beside the target, then moves everything into place. `ours`: what stands there is
    known to be what was written, though its manifest is gone.
    """
    target = target_of(run, node)
    base = _fixed_part(target)
    run.store.open()
    with run.store.claim(target):
        if "{" not in str(target):
            _refuse_read(run, target)
        if not run.options.overwrite and not ours and "{" not in str(target):
            _refuse_foreign(target, _manifest_of(run, node, target))
        staging = base / f"{STAGING}{os.getpid()}-{folder.name[:12]}"
        try:
            base.mkdir(parents=True, exist_ok=True)
            _sweep(base, folder.name[:12])
            staging.mkdir()
        except OSError as error:
            raise StepError(f"cannot write below {base}: {error.strerror}", step=node.id, code="R665") from error
        try:
            facts = _write(run, node, folder, source, staging, trusted=ours or run.options.overwrite)
        except OSError as error:
            raise StepError(
                f"cannot write {target}: {error.strerror}", step=node.id, code="R663", help="free space and run again"
            ) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return facts


STAGING = f".sftrecipe-{socket.gethostname()}-"


def _sweep(base: Path, key: str) -> None:
    """Takes away what killed runs left: of this output, which nobody else holds now, and of processes that are gone."""
    for left in base.glob(f"{STAGING}*"):
        pid, _, of = left.name.removeprefix(STAGING).partition("-")
        if of == key or (pid.isdigit() and not _alive(int(pid))):
            shutil.rmtree(left)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _fixed_part(target: Path) -> Path:
    """The deepest folder of a path before its first {column}."""
    parent = target.parent
    while "{" in str(parent):
        parent = parent.parent
    return parent


def _write(run: Run, node: Node, folder: Path, source: Table, staging: Path, *, trusted: bool) -> dict[str, Any]:
    spec, operator = bound(run, node, folder, {})
    target = target_of(run, node)
    operator.path = str(target)
    extra = guarded(node, operator.write, run.dataset(source, spec.scratch), staging) or {}
    _as_promised(node, staging, target, extra)
    files = {str(p.relative_to(staging)): sha256_of(p) for p in sorted(staging.rglob("*")) if p.is_file()}
    manifest = output_manifest(run, node, files, extra, len(source))
    for path in staging.rglob("*"):
        if path.is_file():
            _fsync(path)
    many = "{" in str(target)
    if is_folder(target) and not many:
        (staging / "manifest.json").write_bytes(_json(manifest))
        _replace_folder(staging, target)
        base = target
    else:
        base = _fixed_part(target)
        beside = _manifest_of(run, node, target)
        for name in files:
            _refuse_read(run, base / name)
        if many and not trusted:
            _refuse_foreign_files(base, files, known_files(beside), whole=is_folder(target))
        _replace_files(staging, base, beside, manifest, _of_pattern(known_files(beside), target) if many else {})
    return {
        "target": str(target),
        "base": str(base),
        "files": files,
        "rows": len(source),
        "facts": json.loads(_json(extra)),
    }


def _as_promised(node: Node, staging: Path, target: Path, extra: Any) -> None:
    """P010 unless the operator wrote what its target asks for, and left the manifest to the interpreter."""
    who, folder = f"`{node.entry.full}` ({node.entry.origin})", is_folder(target)
    if not isinstance(extra, Mapping):
        raise StepError(
            f"{who} answered {type(extra).__name__}; a mapping of facts is needed", step=node.id, code="P010"
        )
    if not folder and "{" not in str(target) and not (staging / target.name).is_file():
        raise StepError(f"{who} wrote no {target.name}", step=node.id, code="P010")
    if folder and (staging / "manifest.json").exists():
        raise StepError(f"{who} wrote a manifest.json: that name is taken", step=node.id, code="P010")


def _replace_files(
    staging: Path, base: Path, beside: Path, manifest: dict[str, Any], ours: Mapping[str, list[str]]
) -> None:
    """Moves the files into place, and takes away what an earlier run wrote (`ours`) and this one does not."""
    files = manifest["files"]
    stale = {
        n: sha for n in ours if n not in files and (base / n).is_file() and (sha := sha256_of(base / n)) in ours[n]
    }
    replaced = {n: old for n in files if (base / n).is_file() and (old := sha256_of(base / n)) != files[n]}
    # the manifest goes first: a kill in between leaves a manifest that knows both the old files and the new
    if replaced or stale:
        atomic_bytes(beside, _json({**manifest, "replaces": {**replaced, **stale}}))
    else:
        atomic_bytes(beside, _json(manifest))
    for name in files:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / name, base / name)
    for name in stale:
        (base / name).unlink()
        _drop_empty((base / name).parent, base)
    fsync_folder(base)
    if replaced or stale:
        atomic_bytes(beside, _json(manifest))


def _of_pattern(known: Mapping[str, list[str]], target: Path) -> dict[str, list[str]]:
    """Those of the files that an output with {columns} in its path could have written."""
    parts = _FIELD.split(target.relative_to(_fixed_part(target)).as_posix())
    pattern = re.compile("[^/]+".join(map(re.escape, parts)) + ("/.+" if is_folder(target) else ""))
    return {name: shas for name, shas in known.items() if pattern.fullmatch(name)}


def _drop_empty(folder: Path, base: Path) -> None:
    """Takes away folders that are empty now, up to `base`."""
    while folder != base and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def known_files(beside: Path) -> dict[str, list[str]]:
    """name -> the sha256 that it may have, of what the last run wrote; empty where there is no manifest."""
    try:
        manifest = json.loads(beside.read_bytes())
        known: dict[str, list[str]] = {name: [sha] for name, sha in manifest["files"].items()}
        for name, sha in manifest.get("replaces", {}).items():
            known.setdefault(name, []).append(sha)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return known


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=1, default=str) + "\n").encode()


def _replace_folder(staging: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        os.rename(target, old)
    os.rename(staging, target)
    fsync_folder(target.parent)
    if old.exists():
        shutil.rmtree(old)


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


_ELSEWHERE = "write elsewhere, move it away, or run with --overwrite"


def _foreign(path: Path) -> StepError:
    what = f"{path} is there already and was not written by sftrecipe"
    return StepError(what, code="R664", help=_ELSEWHERE)


def _unchanged(base: Path, known: Mapping[str, list[str]]) -> None:
    for name, shas in known.items():
        if (base / name).is_file() and sha256_of(base / name) not in shas:
            raise StepError(f"{base / name} was changed since it was written", code="R664", help=_ELSEWHERE)


def _refuse_foreign_files(base: Path, files: Mapping[str, str], known: Mapping[str, list[str]], *, whole: bool) -> None:
    """The same for several files or (`whole`) folders, once it is known which ones."""
    _unchanged(base, known)
    there = {name for name in files if (base / name).is_file()}
    if whole:
        cards = [Path(name).parent for name in files if Path(name).name == "README.md"]
        inside = (p for card in cards for p in (base / card).rglob("*") if p.is_file())
        there |= {p.relative_to(base).as_posix() for p in inside}
    if strange := sorted(there - set(known)):
        raise _foreign(base / strange[0])


def _refuse_read(run: Run, target: Path) -> None:
    """R664, --overwrite or not, when the output would take the place of what this run reads, or of the folder it runs
    in.
    """
    place = target.resolve()
    nodes = run.plan.nodes.values()
    reads = {*run.reads, run.plan.recipe.file, *(p for n in nodes for p in n.files.values()), Path()}
    for path in reads:
        if place == path.resolve() or place in path.resolve().parents:
            text = f"{target} {'is' if place == path.resolve() else 'holds'} what this recipe reads ({path})"
            text = text if path != Path() else f"{target} is the folder that this runs in"
            raise StepError(text, code="R664", help="write elsewhere: an output never replaces an input")


def _refuse_foreign(target: Path, beside: Path) -> None:
    """R664 when something stands there that no run wrote, or that was changed since."""
    if not target.exists():
        return
    known = known_files(beside)
    if not known:
        if target.is_dir() and not any(target.iterdir()):
            return
        raise _foreign(target)
    _unchanged(target if target.is_dir() else target.parent, known)
    if target.is_dir():
        strange = [
            p.name
            for p in target.rglob("*")
            if p.is_file() and str(p.relative_to(target)) not in {*known, "manifest.json"}
        ]
        if strange:
            raise StepError(f"{target} holds {strange[0]}, which sftrecipe did not write", code="R664", help=_ELSEWHERE)
