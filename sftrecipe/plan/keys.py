"""Keys: what a step's result depends on, and nothing else.

Key = hash(operator, version, canonical parameters, function versions, model identities, content digests of inputs and
files, seed). No code is hashed, no path, no URL, no secret. The parts are kept beside the key, so that `plan` can say
which of them changed.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sftrecipe import params as declared
from sftrecipe.models.provider import Provider
from sftrecipe.plan.node import Node
from sftrecipe.plan.stages import Stage

__all__ = ["FORMAT", "canonical", "changed", "file_digest", "key_of", "step_parts", "step_seed", "taken_digest"]

_FIELD = re.compile(r"\{\w+\}")

FORMAT = 1
"""Raised when stored files of an older core must not be read."""


def canonical(value: Any) -> str:
    """JSON with sorted keys: one text for one value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def file_digest(path: Path) -> str:
    """sha256 of a file, or of a folder's files and their names."""
    if path.is_dir():
        inner = {str(p.relative_to(path)): file_digest(p) for p in sorted(path.rglob("*")) if p.is_file()}
        return hashlib.sha256(canonical(inner).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def taken_digest(path: Path) -> Any:
    """What is there of a file that comes from outside: its digest, `absent`, or {name: digest} of all that fit a
    `{pattern}`.
    """
    if not _FIELD.search(str(path)):
        return file_digest(path) if path.exists() else "absent"
    pattern = "*".join(glob.escape(fixed) for fixed in _FIELD.split(str(path)))
    return {Path(found).name: file_digest(Path(found)) for found in sorted(glob.glob(pattern))}


def _digest(file: Any) -> str:  # Python 3.10 has no hashlib.file_digest
    made = hashlib.sha256()
    while block := file.read(1 << 20):
        made.update(block)
    return made.hexdigest()


def step_seed(recipe_seed: int, node: Node) -> int:
    """The step's own seed, or one from the recipe's seed and the step's name: an edit upstream re-rolls nothing."""
    if node.step.seed is not None:
        return node.step.seed
    text = f"{recipe_seed}/{node.id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def step_parts(
    node: Node, seed: int, providers: Mapping[str, Provider], artefacts: Mapping[str, str]
) -> dict[str, Any]:
    """What a step's result depends on, beside its rows. `artefacts`: digest of each artefact parameter."""
    operator = node.operator
    known = declared.specs(type(operator))
    given = {}
    for name, value in operator.params.items():
        kind = known[name].kind
        if kind in ("model", "operator", "given", "taken") or (kind == "file" and value is not None):
            continue  # stands in the key by what it is, not by what it is called
        given[name] = value
    parts: dict[str, Any] = {
        "operator": node.entry.full,
        "version": operator.version,
        "params": given,
        "where": node.step.where,
        "on_error": node.step.on_error,
        "seed": seed,
        "constants": {
            k: v
            for k, v in node.step.constants.items()
            if f"params.{k}" in canonical(node.step.raw) + str(node.step.where)
        },
        "functions": node.functions,
        "files": {name: file_digest(path) for name, path in sorted(node.files.items())},
        "artefacts": dict(sorted(artefacts.items())),
        "models": {n: _identity(m.name, providers) for n, m in sorted(node.models.items())},
    }
    if node.taken:
        parts["taken"] = {name: taken_digest(path) for name, path in sorted(node.taken.items())}
    for name, inner in node.nested.items():
        parts[f"operator {name}"] = step_parts(inner, seed, providers, {})
    return parts


def _identity(name: str, providers: Mapping[str, Provider]) -> dict[str, Any]:
    provider = providers[name]
    return {"provider": provider.name, "version": provider.version, **provider.identity()}


def key_of(stage: Stage, parts: Sequence[Mapping[str, Any]], inputs: Mapping[str, str]) -> str:
    """The key of a stage from the parts of its steps and the content digests of what it reads."""
    # not sorted: the order of a mapping (the stages of a mix, its inputs) may be the order of the rows
    text = json.dumps(
        {"format": FORMAT, "kind": stage.kind, "steps": list(parts), "inputs": dict(inputs)},
        ensure_ascii=False,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def changed(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> str:
    """Why a step must run again, in words: which parameter, input or version differs from the last run."""
    if old is None:
        return "first run"
    for name, value in sorted(new.items(), key=lambda item: item[0] not in ("version", "params")):
        if name in ("params", "files", "taken", "models", "functions", "inputs", "artefacts", "constants"):
            before = old.get(name) or {}
            for key in sorted({*before, *value}):
                if before.get(key) != value.get(key):
                    word = {
                        "params": "parameter",
                        "files": "file",
                        "taken": "file",
                        "models": "model",
                        "inputs": "input",
                        "constants": "parameter",
                    }.get(name, name)
                    return f"{word} `{key}` changed" + (
                        f": {before.get(key)!r} -> {value.get(key)!r}" if name in ("params", "constants") else ""
                    )
        elif old.get(name) != value:
            return f"{name} changed: {old.get(name)!r} -> {value!r}"
    return "a stored file is gone"
