# Short names for what is done often. `just` lists them.
default:
    @just --list

install:
    pip install -e ".[dev]"

test *args:
    python -m pytest -n 2 {{args}}

style:
    ruff check --fix . && ruff format sftrecipe plugins && mypy

# Everything that is made from something else: schema, operator reference.
generate:
    sftrecipe schema > schema/recipe.schema.json
    sftrecipe ops --docs > docs/operators.md

quickstart:
    sftrecipe run recipes/quickstart.yaml

bench corpus:
    python benchmarks/workloads.py {{corpus}}
