"""Computing a stage, by what its verb may do to rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sftrecipe.errors import Pending, RowError, SftRecipeError, StepError, described
from sftrecipe.ledger import Events
from sftrecipe.plan import Node, Stage
from sftrecipe.run.bind import StepSpec, bind
from sftrecipe.run.context import RunContext
from sftrecipe.run.part import write_frame
from sftrecipe.run.result import files_of
from sftrecipe.table import Table

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["add_events", "border", "bound", "compute", "fitted", "guarded", "manifest_of", "ports_of", "types_of"]


def compute(run: Run, stage: Stage, folder: Path, inputs: list[Table], ports: Mapping[str, Table]) -> dict[str, Any]:
    """The manifest of a stage, its files written."""
    from sftrecipe.run import choosing, mixing, packing, passing, streaming

    if stage.kind == "rows":
        if stage.first.verb == "evolve":
            from sftrecipe.run.evolving import evolve_rows

            return evolve_rows(run, stage.first, folder, inputs[0], ports)
        return streaming.stream(run, stage, folder, inputs[0], ports)
    node = stage.first
    if node.verb in ("filter", "select"):
        return choosing.choose(run, node, folder, inputs[0], ports)
    if node.verb == "mix":
        return mixing.mix(run, node, folder, inputs, ports)
    if node.verb == "pack":
        return packing.pack(run, node, folder, inputs[0], ports)
    if node.verb == "evolve":
        from sftrecipe.run.evolving import evolve_all

        return evolve_all(run, node, folder, inputs[0], ports)
    if node.verb == "measure":
        return passing.measure(run, node, folder, inputs, ports)
    if node.verb == "write":
        return passing.write(run, node, folder, inputs[0])
    raise StepError(f"`{node.entry.full}` writes neither a row form nor a batch form", step=node.id, code="P010")


def bound(run: Run, node: Node, folder: Path, ports: Mapping[str, Table], state: str = "") -> tuple[StepSpec, Any]:
    """The spec of a node and its live operator, with ports and models, and what `fit` left in `state`."""
    spec = run.spec(node, folder / "scratch" / node.id.replace("/", "_"), state)
    operator = bind(spec, run.live_models([node]), ports_of(run, spec, ports))
    context = cast(RunContext, operator.context)
    context.plan = run.plan
    context.on_progress = lambda done, of: run.progress.within(node.id, done, of)
    return spec, operator


def ports_of(run: Run, spec: StepSpec, ports: Mapping[str, Table]) -> dict[str, Any]:
    """The side ports of one step, by name, as operators see them. `ports` is keyed `step.port`."""
    mine = {n.removeprefix(f"{spec.id}."): t for n, t in ports.items() if n.startswith(f"{spec.id}.")}
    return {name: run.dataset(table, spec.scratch / name) for name, table in mine.items()}


def add_events(manifest: dict[str, Any], events: Events, folder: Path) -> None:
    """The ledger of a step whose rows do not stand beside those that came in, as a file of its own."""
    if len(events):
        name, sha = write_frame(folder / "all.ledger.parquet", events.frame(), "lz4")
        manifest["events"] = [name, sha]
        manifest["files"][name] = sha


def guarded(node: Node, function: Callable[..., Any], *args: Any) -> Any:
    """Calls into a whole-data operator. Anything but our own errors becomes a StepError that names it."""
    try:
        return function(*args)
    except (SftRecipeError, Pending):
        raise
    except RowError as error:
        raise StepError(f"`{node.entry.full}`: {error}", step=node.id, code="P010") from error
    except (Exception, SystemExit) as error:  # the plugin border
        if isinstance(error, OSError) and node.verb == "write":
            raise  # a full disk is the disk's fault: whoever holds the output tells it
        text = f"`{node.entry.full}` ({node.entry.origin}) raised {described(error)}"
        raise StepError(text, step=node.id, code="P010") from error


@contextmanager
def border(stage: Stage) -> Iterator[None]:
    """Around the work of a stage: what an operator handed back in a shape that no check foresaw is told with its name,
    never traced back.
    """
    try:
        yield
    except (SftRecipeError, Pending):
        raise
    except OSError as error:
        text = f"{error.filename or 'a file'}: {error.strerror or error}"
        raise StepError(text, step=stage.last.id, code="R663", help="free space and run again") from error
    except (Exception, SystemExit) as error:
        who = ", ".join(f"`{n.entry.full}` ({n.entry.origin})" for n in stage.nodes)
        text = f"{who} gave something that cannot be used: {described(error)}"
        raise StepError(text, step=stage.last.id, code="P010") from error


def fitted(run: Run, node: Node, folder: Path, source: Table, ports: Mapping[str, Table]) -> tuple[str, dict[str, str]]:
    """Runs `fit` over everything, if the operator has one. Returns where its state lies, and the artefact files."""
    if not node.has_fit:
        return "", {}
    from sftrecipe.run.choosing import matching

    spec, operator = bound(run, node, folder, ports)
    inside = matching(run, node, spec, source)  # rows that `where` leaves out are no part of what is learnt
    view = source if inside is None else source.keep(inside)
    state = guarded(node, operator.fit, run.dataset(view, spec.scratch, operator.heavy))
    if not isinstance(state, Mapping):
        raise StepError(
            f"`{node.entry.full}` ({node.entry.origin}): fit must give a mapping", step=node.id, code="P010"
        )
    files = run.save_artefacts(folder, {**state, **getattr(operator, "artefacts", {})})
    return (str(folder) if files else ""), files


def manifest_of(
    parts: Sequence[Mapping[str, Any]] | None,
    columns: Mapping[str, str],
    counts: Sequence[Mapping[str, Any]],
    artefacts: Mapping[str, str],
) -> dict[str, Any]:
    """A manifest from its pieces."""
    names = {name.split(".artefact.")[0]: name for name in artefacts}
    files = {**(files_of(parts) if parts is not None else {}), **artefacts}
    return {"parts": parts, "columns": dict(columns), "counts": list(counts), "files": files, "artefacts": names}


def types_of(node: Node) -> dict[str, str]:
    """The columns that a node hands on."""
    return {n: str(c.type) for n, c in node.columns_out.items() if n}
