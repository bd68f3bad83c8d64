"""`plan`, `head`, `trace`, `show`, `graph`: looking at a recipe and at what the store holds of it."""

from __future__ import annotations

import json as _json
import sys
from typing import Any

from sftrecipe.cli.console import out, print_problems, quiet_text
from sftrecipe.errors import UsageError, did_you_mean
from sftrecipe.plan import Node
from sftrecipe.plan.keys import canonical, changed
from sftrecipe.session import Session

__all__ = ["show_graph", "show_head", "show_plan", "show_recipe", "show_trace"]


def show_plan(session: Session, estimate: bool) -> None:
    """Stages in order: rows, what is stored, and why the rest is not."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from sftrecipe.run.record import last_parts

    with session:
        run = session.replay()
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("stage", "steps", "rows", "state"):
            table.add_column(name, justify="right" if name in ("stage", "rows") else "left")
        before = last_parts(run)
        for number, stage in enumerate(run.stages(), 1):
            result = run.results.get(stage.first.id)
            rows = "\n".join(f"{c.rows_out:,}" for c in result.counts()) if result else "?"
            state = _stored(result) if result else _why(run, stage, before)
            table.add_row(str(number), Text("\n".join(n.id for n in stage.nodes)), rows, Text(state))
        out().print(table)
        if estimate:
            _estimate(session, run)
    warnings = [p for p in session.problems if p.severity == "warning"]
    if warnings:
        print_problems(warnings)


def _stored(result: Any) -> str:
    failed = result.manifest.get("partial", 0)
    return f"stored, but for {failed:,} rows that failed: they are tried again" if failed else "stored"


def _why(run: Any, stage: Any, before: Any) -> str:
    """Why a stage is not in the store."""
    waits = [s for s in dict.fromkeys(run._needs(stage)) if s not in run.results]
    if waits:
        known = all(n.id in before for n in stage.nodes)
        names = ", ".join(f"`{w}`" for w in waits)
        return f"stored if {names} comes out the same" if known else f"to run, after {names}"
    for node in stage.nodes:
        now = _json.loads(canonical(run.parts[node.id])) if node.id in run.parts else {}
        reason = changed(before.get(node.id), now)
        if reason not in ("first run", "a stored file is gone"):
            return f"to run: {node.id}: {reason}"
    return "to run: first run" if any(n.id not in before for n in stage.nodes) else "to run: not in the store"


def _estimate(session: Session, run: Any) -> None:
    """Calls, tokens, money and time of the steps that ask models."""
    from sftrecipe.run.estimates import estimates

    console = out()
    lines = list(estimates(run))
    for line in lines:
        console.print(line, markup=False)
    if not lines:
        console.print("no step asks a model", markup=False)


def show_head(session: Session, name: str, n: int, as_json: bool) -> None:
    """Rows of a step."""
    from sftrecipe.report.trace import rows_of

    step, _, port = name.partition(".")
    with session:
        run = session.replay()
        if name in run.plan.nodes:
            step, port = name, ""
        elif name.rpartition(".")[0] in run.plan.nodes:
            step, _, port = name.rpartition(".")
        console = out()
        if step in run.results and port in run.results[step].manifest.get("artefacts", {}):
            _print_artefact(console, run.artefact(step, port), n, as_json)
            return
        _known(run, step, port)
        frame, columns = rows_of(run, step, port, n)
    for row in frame.iter_rows(named=True):
        if as_json:
            console.print(
                _json.dumps({c: row.get(c) for c in columns if c in row}, ensure_ascii=False, default=str), markup=False
            )
        else:
            _print_row(console, row)
    if not frame.height:
        console.print(f"no rows in {name}", markup=False)


def _known(run: Any, step: str, port: str) -> None:
    if step not in run.plan.nodes:
        raise UsageError(f"no step is called `{step}` {did_you_mean(step, run.plan.nodes)}".rstrip())
    if port not in ("", "dropped", "quarantined"):
        made = ", ".join(run.results[step].manifest.get("artefacts", {})) if step in run.results else ""
        more = f"; artefacts: {made}" if made else ""
        raise UsageError(f"`{step}` has no port `{port}`: dropped, or quarantined for a load{more}")
    if step not in run.results:
        raise UsageError(f"`{step}` has not run yet: sftrecipe run {run.plan.recipe.file} --to {step}")


def _print_artefact(console: Any, path: Any, n: int, as_json: bool) -> None:
    """A table's first lines, or what else there is under that name."""
    from sftrecipe.artefacts import load

    value = load(path)
    if hasattr(value, "iter_rows"):
        for row in value.head(n).iter_rows(named=True):
            text = _json.dumps(row, ensure_ascii=False, default=str) if as_json else quiet_text(str(row))
            console.print(text, markup=False)
    elif hasattr(value, "shape"):
        console.print(f"{value.dtype} {list(value.shape)}\n{value[:n]}", markup=False)
    else:
        text = (
            value if isinstance(value, str) else _json.dumps(value, ensure_ascii=False, indent=None if as_json else 1)
        )
        console.print(quiet_text(text), markup=False)


def _print_row(console: Any, row: dict[str, Any]) -> None:
    from rich.text import Text

    for name, value in row.items():
        if value is None or name == "hash":
            continue
        if name == "messages":
            console.print(Text("messages", style="bold"))
            for m in value:
                console.print(
                    Text(f"  {m['role']}: ", style="cyan")
                    + Text(_short(quiet_text(m["content"] or m.get("tool_calls") or ""), 600))
                )
        else:
            console.print(Text(f"{name} ", style="bold") + Text(_short(quiet_text(str(value)), 300)))
    console.print(Text("-" * 40, style="dim"))


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + f" ... ({len(text):,} characters)"


def show_trace(session: Session, text: str) -> None:
    """A row's story, or the rows that the text may mean."""
    from rich.text import Text

    from sftrecipe.report.trace import find, story

    console = out()
    with session:
        run = session.replay()
        if not run.results:
            raise UsageError(f"nothing of {session.file} is in the store yet: run it first")
        hits = find(run, text)
        if not hits:
            raise UsageError(f"no row has the id `{text}` or holds this text")
        if len(hits) > 1 and not any(id == text for id, _ in hits):
            console.print(f"{len(hits)} rows hold this; name one by its id:", markup=False)
            for id, start in hits:
                console.print(Text(f"  {id}  ", style="cyan") + Text(quiet_text(start.replace("\n", " "))))
            sys.exit(2)
        id = text if any(i == text for i, _ in hits) else hits[0][0]
        console.print(Text(f"row {id}", style="bold"))
        for line in story(run, id):
            style = {"kept": "green", "loaded": "green", "dropped": "red", "failed": "red"}.get(line.verdict, "yellow")
            values = ", ".join(f"{k} = {_short(str(v), 60)}" for k, v in line.columns.items() if v is not None)
            text_line = Text(f"  {line.step}: ") + Text(line.verdict, style=style)
            detail = " ".join(p for p in (line.detail, values) if p)
            console.print(text_line + Text(quiet_text(f" {detail}" if detail else "")))


def show_recipe(session: Session) -> None:
    """The recipe with nothing left to resolve, as YAML."""
    import yaml

    with session:
        plan = session.plan()
    steps = [_step(n) for n in plan.nodes.values()]
    data = {
        "recipe": plan.recipe.name,
        "grammar": 1,
        "seed": plan.recipe.seed,
        "params": _json.loads(canonical(plan.recipe.params)),
        "steps": steps,
    }
    out().print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120), markup=False, end="")


def _step(node: Node) -> dict[str, Any]:
    step = node.step
    found: dict[str, Any] = {
        "id": step.id,
        node.entry.full: _json.loads(canonical({k: v for k, v in node.operator.params.items() if v is not None})),
    }
    if node.inputs:
        found["from"] = {"rows": [str(r) for r in node.inputs], **{k: str(r) for k, r in step.ports.items()}}
    for name in ("where", "seed", "on_error"):
        if getattr(step, name) is not None:
            found[name] = getattr(step, name)
    if step.expect:
        found["expect"] = step.expect
    return found


def show_graph(session: Session) -> None:
    """The steps and who reads whom, as a Mermaid flowchart."""
    with session:
        plan = session.plan()
    names = {id: f"s{n}" for n, id in enumerate(plan.nodes)}
    lines = ["flowchart TD"]
    for id, node in plan.nodes.items():
        label = id if id.split("#")[0] == node.entry.full else f"{id}<br/>{node.entry.full}"
        lines.append(f'  {names[id]}["{label}"]')
    for id, node in plan.nodes.items():
        for ref in node.inputs:
            arrow = f"-- {ref.port} -->" if ref.port else "-->"
            lines += [f"  {names[ref.step]} {arrow} {names[id]}"] if ref.step else []
        lines += [f"  {names[ref.step]} -. {port} .-> {names[id]}" for port, ref in node.step.ports.items()]
        lines += [f"  {names[step]} -. {key} .-> {names[id]}" for step, key in node.artefacts.values()]
    out().print("\n".join(lines), markup=False)
