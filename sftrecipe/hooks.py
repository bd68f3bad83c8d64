"""What observers may implement (pluggy). Switched on by `--with NAME` or `[tool.sftrecipe] with`, never by being
installed.

An observer is an object or module with functions marked `@hookimpl`, an entry point in `sftrecipe.hook`. Events are
frozen. An observer's exception is a warning, never the end of a run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy

from sftrecipe.errors import Problem, RecipeError

if TYPE_CHECKING:
    from sftrecipe.ledger import Counts
    from sftrecipe.plan.node import Node
    from sftrecipe.registry import Registry

__all__ = ["Observers", "RunEvent", "StepEvent", "hookimpl", "hookspec", "observers_of"]

hookspec = pluggy.HookspecMarker("sftrecipe")
hookimpl = pluggy.HookimplMarker("sftrecipe")
_log = logging.getLogger("sftrecipe.hooks")


@dataclass(frozen=True)
class StepEvent:
    """A step starts, or is done (then with `counts`, and whether it was in the store)."""

    step: str
    operator: str
    origin: str
    params: Mapping[str, Any]
    inputs: Sequence[str]
    counts: Mapping[str, Any] = field(default_factory=dict)
    cached: bool = False


@dataclass(frozen=True)
class RunEvent:
    """A run starts, or is done (then with its outputs, `error` if it failed, `waiting` if the world must act)."""

    recipe: str
    file: str
    seed: int
    steps: Sequence[str]
    outputs: Sequence[Mapping[str, Any]] = ()
    error: str = ""
    waiting: Mapping[str, str] = field(default_factory=dict)


class Specs:
    """The hooks, on one page."""

    @hookspec
    def run_started(self, event: RunEvent) -> None:
        """A run begins."""

    @hookspec
    def step_started(self, event: StepEvent) -> None:
        """A step begins."""

    @hookspec
    def step_finished(self, event: StepEvent) -> None:
        """A step is done."""

    @hookspec
    def run_finished(self, event: RunEvent) -> None:
        """A run is over, well or not."""

    @hookspec
    def report_section(self, event: RunEvent, counts: Sequence[Mapping[str, Any]]) -> str | None:
        """Text that is printed below the funnel."""

    @hookspec
    def commands(self, app: Any) -> None:
        """Adds commands to the command line (a typer app)."""


class Observers:
    """The observers of a run."""

    def __init__(self, plugins: Mapping[str, Any] | None = None) -> None:
        self.manager = pluggy.PluginManager("sftrecipe")
        self.manager.add_hookspecs(Specs)
        for name, plugin in (plugins or {}).items():
            self._register(name, plugin)

    def _register(self, name: str, plugin: Any) -> None:
        """An observer that cannot be made is told as a warning; pluggy refuses one whose hooks are none of ours."""
        try:
            made = plugin() if isinstance(plugin, type) else plugin
        except Exception as error:  # the plugin border, as below
            _log.warning("observer `%s` cannot be made: %s: %s", name, type(error).__name__, error)
            return
        self.manager.register(made, name)
        self.manager.check_pending()

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """Every observer in turn; one that raises is told as a warning and the others go on."""
        answers = []
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            wanted = {name: arguments[name] for name in implementation.argnames}
            try:
                answers.append(implementation.function(**wanted))
            except Exception as error:  # the plugin border: an observer must not end a run
                _log.warning(
                    "observer `%s` failed in %s: %s: %s", implementation.plugin_name, hook, type(error).__name__, error
                )
        return answers

    def started(self, node: Node) -> None:
        """A step begins."""
        self.call("step_started", event=_event(node))

    def finished(self, node: Node, counts: Counts, cached: bool) -> None:
        """A step is done."""
        self.call("step_finished", event=_event(node, vars(counts), cached))


def observers_of(registry: Registry, names: Sequence[str]) -> Observers:
    """The observers with these names. Raises RecipeError P003 for one that has hooks which there are not."""
    found = {name: registry.entry("hook", name) for name in names}
    try:
        return Observers({name: entry.load() for name, entry in found.items()})
    except pluggy.PluginValidationError as error:
        hooks = ", ".join(n for n in vars(Specs) if not n.startswith("_"))
        text = f"an observer has a hook that there is not: {' '.join(str(error).split())}"
        raise RecipeError([Problem("P003", text, help=f"the hooks are {hooks}")]) from error


def _event(node: Node, counts: Mapping[str, Any] | None = None, cached: bool = False) -> StepEvent:
    inputs = tuple(str(r) for r in node.inputs)
    return StepEvent(
        node.id, node.entry.full, node.entry.origin, dict(node.operator.params), inputs, dict(counts or {}), cached
    )
