"""A recipe opened for work: what the command line, the tests of recipes and Python programs share.

from sftrecipe.session import Session
with Session("recipe.yaml", variant="offline") as session:
    outcome = session.run()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import Problems, StepError, UsageError
from sftrecipe.plan import Plan, check_recipe
from sftrecipe.recipe import Recipe, read_recipe
from sftrecipe.registry import Registry

if TYPE_CHECKING:
    from sftrecipe.engines import Engine
    from sftrecipe.hooks import Observers
    from sftrecipe.run.interpreter import Options, Outcome, Run
    from sftrecipe.run.progress import Progress

__all__ = ["Session"]


@dataclass
class Session:
    """One recipe with a variant, overrides and one-off plugins; a store; an engine.

    Raises RecipeError with every problem when the recipe is wrong, UsageError when what is asked for is.
    """

    file: Path | str
    variant: str = ""
    overrides: Sequence[str] = ()
    plugins: Sequence[Path] = ()
    store: Path | str = ".sftrecipe"
    workers: int = 0
    engine: str = "local"
    observers: Sequence[str] = ()
    options: Options | None = None
    allow_outside: bool = False
    problems: Problems = field(default_factory=Problems)

    def __post_init__(self) -> None:
        self.file = Path(self.file)
        self.registry = Registry(tuple(Path(p) for p in self.plugins))
        self._engine: Engine | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._engine.close()

    def plan(self) -> Plan:
        """The checked plan. Raises RecipeError with everything that is wrong; warnings are left in `problems`."""
        self.problems.clear()
        recipe = self.read()
        plan = check_recipe(recipe, self.registry, self.problems)
        self.problems.raise_errors()
        return plan

    def read(self) -> Recipe:
        """The recipe, as far as it can be read; problems are collected."""
        if not Path(self.file).is_file():
            near = [p.name for p in Path(self.file).parent.glob("*.y*ml")] if Path(self.file).parent.is_dir() else []
            from sftrecipe.errors import did_you_mean

            raise UsageError(f"there is no recipe {self.file}: {did_you_mean(Path(self.file).name, near)}".rstrip(": "))
        recipe = read_recipe(Path(self.file), variant=self.variant, overrides=self.overrides, problems=self.problems)
        recipe.outside = self.allow_outside
        return recipe

    def run(self, progress: Progress | None = None, on_damage: Any = None) -> Outcome:
        """Runs the recipe. Raises StepError, BudgetReached, or Waiting when the world must act first."""
        from sftrecipe.hooks import RunEvent
        from sftrecipe.run.interpreter import execute
        from sftrecipe.run.record import save_last

        plan = self.plan()
        if plan.is_part():
            raise UsageError(
                f"{self.file} is a part for other recipes: its first step reads what a `use` step gives it"
            )
        self._known_step(plan)
        observers = self.watchers()
        event: dict[str, Any] = {
            "recipe": plan.recipe.name,
            "file": str(self.file),
            "seed": plan.recipe.seed,
            "steps": tuple(plan.nodes),
        }
        observers.call("run_started", event=RunEvent(**event))
        runs: list[Run] = []

        def make() -> Run:
            runs.append(self.runner(plan, progress, observers))
            return runs[-1]

        error = ""
        outcome: Outcome | None = None
        try:
            outcome = execute(make, on_damage=on_damage)
        except BaseException as failure:
            error = f"{type(failure).__name__}: {failure}"
            raise
        finally:
            if runs and runs[-1].parts and runs[-1].store.root.is_dir():
                save_last(runs[-1])
            outputs = tuple(outcome.outputs) if outcome else ()
            waiting = outcome.waiting if outcome else {}
            observers.call("run_finished", event=RunEvent(**event, outputs=outputs, error=error, waiting=waiting))
        return outcome

    def runner(
        self, plan: Plan, progress: Progress | None = None, observers: Observers | None = None, *, replay: bool = False
    ) -> Run:
        """A Run over the plan. `replay` only looks at what is in the store."""
        from sftrecipe.run.interpreter import Options, Run
        from sftrecipe.store import Store

        options = self.options or Options()
        return Run(
            plan,
            Store(Path(self.store)),
            self.engine_of(),
            options,
            progress=progress,
            observers=observers,
            replay=replay,
        )

    def replay(self) -> Run:
        """What the store holds of this recipe: a Run whose results are those stages that are there."""
        from sftrecipe.run.interpreter import Missing

        plan = self.plan()
        run = self.runner(plan, replay=True)
        for stage in run.stages():
            if all(step in run.results for step in run._needs(stage)):
                try:
                    run._stage(stage)
                except (Missing, StepError):
                    continue
        return run

    def engine_of(self) -> Engine:
        """The engine, started when it is first needed."""
        if self._engine is None:
            make = self.registry.take("engine", self.engine)
            try:
                self._engine = make(self.workers)
            except TypeError as error:
                text = f"engine `{self.engine}` cannot be made with the number of workers: {error}"
                raise UsageError(text) from error
        return self._engine

    def watchers(self) -> Observers:
        """The observers that were switched on."""
        from sftrecipe.hooks import observers_of

        return observers_of(self.registry, self.observers)

    def _known_step(self, plan: Plan) -> None:
        to = self.options.to if self.options else None
        if to and to not in plan.nodes:
            from sftrecipe.errors import did_you_mean

            near = did_you_mean(to, plan.nodes) or f"there are {', '.join(plan.nodes)}"
            raise UsageError(f"--to {to}: no step has this id: {near}")
