"""What is written down about a run: `manifest.json` beside each output, and the record that `plan` compares with.

A manifest holds no time, no path of this machine and no secret: the same run gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe import __version__
from sftrecipe.errors import StepError
from sftrecipe.ledger import Counts
from sftrecipe.plan import Node
from sftrecipe.plan.keys import canonical, step_seed
from sftrecipe.store import atomic_json

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["last_parts", "output_manifest", "save_last"]


def output_manifest(
    run: Run, node: Node, files: Mapping[str, str], facts: Mapping[str, Any], rows: int
) -> dict[str, Any]:
    """All that an output comes from: recipe, parameters, operators with their versions, inputs, and each step's
    figures."""
    recipe = run.plan.recipe
    above = run.plan.upstream([node.id])
    counts = {c.step: c for c in run.outcome.counts} | {node.id: Counts(node.id, rows_in=rows, rows_out=rows)}
    steps = []
    for id in run.plan.nodes:
        if id not in above:
            continue
        one = run.plan.nodes[id]
        figures = {k: v for k, v in vars(counts[id]).items() if k != "step" and v} if id in counts else {}
        steps.append({
            "id": id, "operator": one.entry.full, "plugin": one.entry.distribution, "plugin_version": one.entry.version,
            "operator_version": one.operator.version, "params": _safe(one.operator.params),
            "seed": step_seed(recipe.seed, one),
            "approximate": one.operator.approximate, "counts": figures, **_loaded(run, id),
        })  # fmt: skip
    return {
        "sftrecipe": __version__,
        "recipe": recipe.name,
        "recipe_sha256": hashlib.sha256(recipe.text.encode()).hexdigest(),
        "variant": recipe.variant,
        "params": _safe(recipe.params),
        "seed": recipe.seed,
        "limit": run.options.limit,
        "inputs": {id: p["inputs"] for id, p in run.parts.items() if id in above and run.plan.nodes[id].verb == "load"},
        "models": {
            name: _identity(run, name)
            for name in sorted({m.name for id in above for m in run.plan.nodes[id].all_models().values()})
        },
        "usage": usage(run),
        "steps": steps,
        "rows": rows,
        "approximate": any(run.plan.nodes[id].operator.approximate for id in above),
        "files": dict(files),
        **{k: v for k, v in facts.items() if k in ("licenses", "sources")},
    }


def _loaded(run: Run, id: str) -> dict[str, Any]:
    """What a load says of its sources: formats, schemas and whether they were guessed."""
    result = run.results.get(id)
    found = result.manifest.get("facts") if result is not None else None
    return {"facts": found} if found else {}


def _identity(run: Run, name: str) -> dict[str, Any]:
    provider = run.plan.providers[name]
    return {"provider": provider.name, **provider.identity()}


def usage(run: Run) -> dict[str, Any]:
    """What the models of this run were asked, if anything: replies that were paid for before count as cached."""
    return {name: m.usage() for name, m in sorted(run.models.items()) if hasattr(m, "usage")}


def _safe(value: Any) -> Any:
    """JSON that never holds a secret: `${env:NAME}` is all that params hold of one."""
    return json.loads(canonical(value))


def save_last(run: Run) -> None:
    """Remembers what each step's key was made of, so that `plan` can say what changed. A store that cannot be written
    has been told of by whoever needed it.
    """
    path = _last(run)
    before = last_parts(run)
    with suppress(OSError, StepError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_json(path, {**before, **json.loads(canonical(run.parts))})


def last_parts(run: Run) -> dict[str, Any]:
    """The parts of each step's key at the last run of this recipe."""
    try:
        data = json.loads(_last(run).read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _last(run: Run) -> Path:
    file = hashlib.sha256(str(run.plan.recipe.file.absolute()).encode()).hexdigest()[:12]
    return run.store.root / "last" / f"{file}.json"
