"""What every operator is: a named, versioned, picklable set of parameters.

An operator never moves rows. It hands back masks, columns and row numbers; the interpreter moves the rows. So no
operator can lose, alter or invent a row behind the ledger's back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from sftrecipe import params as _params
from sftrecipe.errors import did_you_mean
from sftrecipe.lazy import np, pl

if TYPE_CHECKING:
    from sftrecipe.dataset import Dataset

__all__ = ["Context", "Cost", "Flow", "Operator", "overrides"]


@dataclass(frozen=True)
class Flow:
    """What a step reads and writes: column -> type as a word. `rewrites` names texts (`query`, `response`) changed."""

    reads: Sequence[str] = ()
    writes: Mapping[str, str] = field(default_factory=dict)
    rewrites: Sequence[str] = ()


@dataclass(frozen=True)
class Cost:
    """What one row asks of a model, each figure as (low, likely, high). `model` is the parameter's name."""

    model: str
    calls: tuple[float, float, float]
    tokens_in: tuple[float, float, float]
    tokens_out: tuple[float, float, float]


class Context(Protocol):
    """`self.context`: all that an operator may know of its run. Nothing here depends on workers, shards or clocks."""

    @property
    def seed(self) -> int:
        """The step's seed."""
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns alive before the step, those derived from `messages` too, and their types as words."""
        ...

    @property
    def scratch(self) -> Path:
        """A folder of its own, emptied when the step is done."""
        ...

    @property
    def log(self) -> Any:
        """A `logging.Logger`."""
        ...

    def random(self, row_id: str, use: str = "") -> np.random.Generator:
        """Randomness that depends on the step's seed, the row and `use` alone."""
        ...

    def note(self, row_id: str, code: str, **facts: Any) -> None:
        """An event in the row's story: `sftrecipe trace` shows it."""
        ...

    def progress(self, done: int, of: int) -> None:
        """How far a whole-data step has come."""
        ...


class Operator:
    """The base of the twelve verbs. Subclass a verb (`Filter`, `Score`, ...), not this.

    Attributes:
        version: raised by one whenever results change for the same input; part of the step's key.
        reads: columns handed over, beside those that parameters name.
        writes: column -> type (a word of `sftrecipe.types`). A key `{into}` stands for the value of parameter `into`.
        needs: extras of sftrecipe (`embed`, `lm`, ...) or modules that must be installed; checked before the run.
        approximate: whether results may differ in the last digits with batch shapes (neural floats).
        heavy: whether row work is Python-bound, so that processes are worth starting.
        wants: expression parameter -> the type its value must have (`bool`, `number`, `text`).
        fills: fields of its templates that the operator fills in itself; all others are columns.
        source: the paper, section or rule that the operator follows.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[Sequence[str]] = ()
    writes: ClassVar[Mapping[str, str]] = {}
    rewrites: ClassVar[Sequence[str]] = ()
    needs: ClassVar[Sequence[str]] = ()
    approximate: ClassVar[bool] = False
    heavy: ClassVar[bool] = False
    wants: ClassVar[Mapping[str, str]] = {}
    fills: ClassVar[Sequence[str]] = ()
    source: ClassVar[str] = ""
    verb: ClassVar[str] = ""
    many_inputs: ClassVar[bool] = False

    context: Context
    state: Mapping[str, Any]
    name: str = ""

    def __init__(self, **given: Any) -> None:
        known = _params.specs(type(self))
        for key in given:
            if key not in known:
                raise TypeError(f"{type(self).__name__} has no parameter `{key}` {did_you_mean(key, known)}".rstrip())
        missing = [s.name for s in known.values() if s.required and s.name not in given and s.kind != "dataset"]
        if missing:
            raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")
        self.params: dict[str, Any] = {}
        for name, spec in known.items():
            if spec.kind != "dataset":
                self.params[name] = value = given.get(name, spec.default)
                setattr(self, name, value)
        self.state = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # no live state travels: models, matrices and words are made again where the operator lands
        return _restore, (type(self), self.name, self.params)

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """What these parameters read and write, given the columns alive before the step. Override rarely."""
        from sftrecipe.expressions import columns_of, template_columns

        reads, writes = list(self.reads), {}
        for spec in _params.specs(type(self)).values():
            for value in _values(self.params.get(spec.name), spec.many):
                if spec.kind == "column":
                    reads.append(value)
                elif spec.kind == "expr":
                    reads += columns_of(str(value), columns)
                elif spec.kind == "template" and isinstance(value, str):
                    reads += [c for c in template_columns(value) if c not in self.fills]
                elif spec.kind == "operator" and isinstance(value, Operator):
                    reads += value.flow(nested_columns(columns)).reads
        for column, kind in self.writes.items():
            name = self.params.get(column[1:-1]) if column.startswith("{") else column
            if name:
                writes[str(name)] = kind
        for spec in _params.specs(type(self)).values():
            if spec.kind == "into" and f"{{{spec.name}}}" not in self.writes:
                writes |= {str(v): "float" for v in _values(self.params.get(spec.name), spec.many)}
        return Flow(tuple(dict.fromkeys(reads)), writes, self.rewrites)

    def sees(self, columns: Mapping[str, str]) -> Sequence[str]:
        """The texts (`query`, `response`) that it looks at when it reads `messages`.

        What it writes goes stale when one of these is rewritten; a step that answers looks at the question alone.
        """
        return ("query", "response")

    def check(self) -> Iterable[str]:
        """Problems between parameters, found before the run. Yields messages."""
        return ()

    def setup(self) -> None:
        """Heavy imports. Called once a worker, with parameters bound and models live."""

    def fit(self, data: Dataset) -> Mapping[str, Any]:
        """A pass over everything, once. What it returns becomes artefacts `step.key` and `self.state` everywhere."""
        return {}

    def report(self, events: pl.DataFrame) -> Mapping[str, Any]:
        """Artefacts from the step's ledger (id, kind, code, value, other, facts), once all rows are through."""
        return {}

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """What a row costs, from a sample, for `plan --estimate`. No model, no cost."""
        return ()

    def review(self, figures: Mapping[str, Any]) -> None:
        """Called once, after all rows, with the step's figures (`rows_in`, `nulls`, `notes`, ... as in the ledger).

        Raises StepError when they cannot stand: a score that is a guess for too many rows.
        """

    def __repr__(self) -> str:
        return f"{self.name or type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"


def nested_columns(columns: Mapping[str, str]) -> dict[str, str]:
    """The columns that an operator given as value sees: all but `candidates`, as it looks at one answer at a time."""
    return {name: word for name, word in columns.items() if name != "candidates"}


def _values(value: Any, many: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, Mapping) and many == "dict":
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _restore(cls: type[Operator], name: str, params: Mapping[str, Any]) -> Operator:
    made = cls(**params)
    made.name = name
    return made


def overrides(cls: type, method: str, base: type) -> bool:
    """Whether a class writes `method` itself, rather than inheriting the verb's page."""
    return getattr(cls, method, None) is not getattr(base, method, None)
