"""The commands and their options. What they do is imported when they are called: `--help` must be quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app", "run_app"]

app = typer.Typer(
    name="sftrecipe", help="Fine-tuning data as one YAML file that anyone can read, run, check and extend.",
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

RecipeFile = Annotated[Path, typer.Argument(help="The recipe file.", show_default=False)]
Variant = Annotated[str, typer.Option("--variant", help="One of the recipe's variants.", show_default=False)]
Params = Annotated[
    list[str] | None, typer.Option("-p", "--param", help="name=value, or a dotted path.", show_default=False)
]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", help="A Python file with operators.", show_default=False)
]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="The store. [.sftrecipe]", show_default=False)]
_outside: list[bool] = []
_observers: list[str] = []
Outside = Annotated[
    bool,
    typer.Option(
        "--allow-outside", callback=lambda on: _outside.append(on) if on else None,
        help="Let the recipe name paths outside its folder and the working folder.", show_default=False,
    ),
]  # fmt: skip
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Keep N rows of each load: a trial run.", show_default=False)
]


@app.command()
def run(
    recipe: RecipeFile,
    variant: Variant = "",
    param: Params = None,
    plugin: Plugins = None,
    allow_outside: Outside = False,
    limit: Limit = None,
    to: Annotated[str | None, typer.Option("--to", help="Run this step and what it needs.", show_default=False)] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Threads or processes. [all processors]", show_default=False),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="Who runs shards: local, or an installed engine.", show_default=False),
    ] = None,
    shard_mb: Annotated[int, typer.Option("--shard-mb", min=1, help="Size of a shard.")] = 16,
    store: StoreFolder = None,
    requests: Annotated[
        str, typer.Option("--requests", help="Recorded model answers: use, refresh, only, off.")
    ] = "use",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that sftrecipe did not write.")
    ] = False,
    observe: Annotated[list[str] | None, typer.Option("--with", help="An observer plugin.", show_default=False)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no funnel.")] = False,
) -> None:
    """Run a recipe. What is in the store is not computed again; a killed run goes on where it was."""
    from sftrecipe.cli.running import run_recipe
    from sftrecipe.run.interpreter import Options

    _one_of("--requests", requests, ("use", "refresh", "only", "off"))
    options = Options(shard_bytes=shard_mb << 20, limit=limit, to=to, overwrite=overwrite, requests=requests)
    run_recipe(_session(recipe, variant, param, plugin, store, options, workers, engine, observe), quiet)


@app.command()
def check(
    recipe: Annotated[list[Path], typer.Argument(help="Recipe files.", show_default=False)],
    variant: Variant = "",
    param: Params = None,
    plugin: Plugins = None,
    allow_outside: Outside = False,
    format: Annotated[str, typer.Option("--format", help="text, json or github.")] = "text",
) -> None:
    """Find everything that is wrong with a recipe. Touches no data."""
    from sftrecipe.cli.checking import check_files

    _one_of("--format", format, ("text", "json", "github"))
    check_files([_session(r, variant, param, plugin) for r in recipe], format)


@app.command()
def plan(
    recipe: RecipeFile,
    variant: Variant = "",
    param: Params = None,
    plugin: Plugins = None,
    allow_outside: Outside = False,
    limit: Limit = None,
    store: StoreFolder = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Calls, tokens, money and time of model steps.")] = False,
) -> None:
    """Show the stages, their rows, and what is in the store already (or why not)."""
    from sftrecipe.cli.looking import show_plan
    from sftrecipe.run.interpreter import Options

    show_plan(_session(recipe, variant, param, plugin, store, Options(limit=limit)), estimate)


@app.command()
def test(
    recipe: Annotated[list[Path], typer.Argument(help="Recipe files.", show_default=False)],
    plugin: Plugins = None,
    allow_outside: Outside = False,
) -> None:
    """Run the tests that stand in recipes."""
    from sftrecipe.cli.checking import test_files

    test_files([_session(r, "", None, plugin) for r in recipe])


@app.command()
def head(
    recipe: RecipeFile,
    step: Annotated[str, typer.Argument(help="A step, or STEP.dropped.", show_default=False)],
    n: Annotated[int, typer.Option("-n", min=1, help="How many rows.")] = 5,
    variant: Variant = "",
    param: Params = None,
    plugin: Plugins = None,
    allow_outside: Outside = False,
    limit: Limit = None,
    store: StoreFolder = None,
    json: Annotated[bool, typer.Option("--json", help="Rows as JSON lines.")] = False,
) -> None:
    """Show the rows that a step handed on, or dropped."""
    from sftrecipe.cli.looking import show_head
    from sftrecipe.run.interpreter import Options

    show_head(_session(recipe, variant, param, plugin, store, Options(limit=limit)), step, n, json)


@app.command()
def trace(
    recipe: RecipeFile,
    row: Annotated[str, typer.Argument(help="A row's id, or words of its text.", show_default=False)],
    variant: Variant = "",
    param: Params = None,
    plugin: Plugins = None,
    allow_outside: Outside = False,
    limit: Limit = None,
    store: StoreFolder = None,
) -> None:
    """Tell what became of a row, step by step, and why."""
    from sftrecipe.cli.looking import show_trace
    from sftrecipe.run.interpreter import Options

    show_trace(_session(recipe, variant, param, plugin, store, Options(limit=limit)), row)


@app.command()
def show(
    recipe: RecipeFile,
    variant: Variant = "",
    param: Params = None,
    plugin: Plugins = None,
    allow_outside: Outside = False,
) -> None:
    """Print the recipe with nothing left to resolve: parameters filled in, parts put in place."""
    from sftrecipe.cli.looking import show_recipe

    show_recipe(_session(recipe, variant, param, plugin))


@app.command()
def graph(
    recipe: RecipeFile,
    variant: Variant = "",
    param: Params = None,
    plugin: Plugins = None,
    allow_outside: Outside = False,
) -> None:
    """Print the graph of steps as Mermaid."""
    from sftrecipe.cli.looking import show_graph

    show_graph(_session(recipe, variant, param, plugin))


@app.command()
def ops(
    verb: Annotated[str, typer.Argument(help="Only this verb.", show_default=False)] = "",
    plugin: Plugins = None,
    docs: Annotated[
        bool, typer.Option("--docs", help="The whole reference as Markdown (imports every operator).")
    ] = False,
) -> None:
    """List the operators there are. Imports none of them."""
    from sftrecipe.cli.catalog import list_operators

    list_operators(verb, plugin or [], docs)


@app.command()
def explain(
    word: Annotated[
        str, typer.Argument(help="An operator, an error code, a model provider or a verb.", show_default=False)
    ],
    plugin: Plugins = None,
) -> None:
    """Explain an operator (parameters, columns, source) or an error code."""
    from sftrecipe.cli.catalog import explain_word

    explain_word(word, plugin or [])


@app.command()
def schema(plugin: Plugins = None) -> None:
    """Print the JSON Schema of recipes, for editors, from the installed operators."""
    from sftrecipe.cli.catalog import print_schema

    print_schema(plugin or [])


@app.command()
def plugins() -> None:
    """List the installed plugin packages and what they bring. Imports none of them."""
    from sftrecipe.cli.catalog import list_plugins

    list_plugins()


def _one_of(option: str, word: str, known: tuple[str, ...]) -> None:
    from sftrecipe.errors import UsageError, did_you_mean

    if word not in known:
        raise UsageError(f"{option} takes {', '.join(known)}, not `{word}` {did_you_mean(word, known)}".rstrip())


def _session(
    recipe: Path, variant: str, param: list[str] | None, plugin: list[Path] | None,
    store: Path | None = None, options: Any = None,
    workers: int | None = None, engine: str | None = None, observe: list[str] | None = None,
) -> Any:  # fmt: skip
    from sftrecipe.session import Session
    from sftrecipe.settings import settings

    found = settings()
    return Session(
        recipe, variant, tuple(param or ()), tuple(plugin or ()), store or Path(str(found.get("store", ".sftrecipe"))),
        workers or int(found.get("workers", 0)), engine or str(found.get("engine", "local")),
        tuple(observe or _observers or found.get("with", ())), options,
        allow_outside=any(_outside) or bool(found.get("allow_outside", False)),
    )  # fmt: skip


def _version(value: bool) -> None:
    if value:
        from sftrecipe import __version__

        typer.echo(f"sftrecipe {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    observe: Annotated[
        list[str] | None, typer.Option("--with", help="An observer plugin, with its commands.", show_default=False)
    ] = None,
) -> None:
    _observers[:] = observe or ()


def _named_first(words: list[str]) -> list[str]:
    """The observers that stand before the command: `sftrecipe --with wandb wandb-login`."""
    names = []
    while words and words[0].startswith("--with"):
        option, equals, name = words[0].partition("=")
        if option != "--with" or not (equals or words[1:]):
            break
        names.append(name if equals else words[1])
        words = words[1 if equals else 2 :]
    return names


def _plugin_commands() -> None:
    """Commands of the observers that are switched on, before the command or in [tool.sftrecipe]."""
    from sftrecipe.settings import settings

    names = _named_first(sys.argv[1:]) or settings().get("with", ())
    if names:
        from sftrecipe.hooks import observers_of
        from sftrecipe.registry import Registry

        observers_of(Registry(), names).call("commands", app=app)


def run_app() -> None:
    """Runs the command line; errors are told, never traced back."""
    from sftrecipe.errors import RecipeError, SftRecipeError

    try:
        _plugin_commands()
        app()
    except RecipeError as error:
        from sftrecipe.cli.console import print_problems

        print_problems(error.problems)
        sys.exit(error.exit_code)
    except SftRecipeError as error:
        from sftrecipe.cli.console import print_error

        print_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # a full disk behind standard output, a folder that may not be read
        from sftrecipe.cli.console import print_error

        print_error(SftRecipeError(str(error)))
        sys.exit(3)
