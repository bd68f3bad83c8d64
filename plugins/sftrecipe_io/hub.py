"""Data sets of the Hugging Face hub: `hf://owner/name`, `hf://owner/name/config`, through the `datasets` library.

The library downloads (or finds in its cache) and maps the rows from disk; pieces are ranges of row numbers. What
identifies the rows is the commit, as noted at the download, and the library's fingerprint of the loaded split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from typing import Any

from sftrecipe import BadRow, StepError
from sftrecipe.errors import did_you_mean
from sftrecipe_io.decode import Parsed
from sftrecipe_io.lines import BLOCK, CHUNK_ROWS
from sftrecipe_io.sources import HUB, Source
from sftrecipe_io.tabular import plain_rows

_COMMIT = re.compile(r"@([0-9a-f]{40})/")

__all__ = ["hub_pieces", "load_split", "read_hub"]


def hub_pieces(path: str, source: Source, shard_bytes: int) -> tuple[list[dict[str, Any]], Any]:
    """Row ranges of a hub data set, and the loaded split (for its first rows)."""
    name, config = _parts(path, source)
    split, data = load_split(name, config, source.split, source.revision)
    identity: dict[str, Any] = {"repo": name, "config": config, "split": split, "revision": source.revision}
    identity |= {"commit": _commit(data), "fingerprint": data._fingerprint, "rows": len(data)}
    rows = max(1, int(shard_bytes * len(data) / max(int(data.data.nbytes), 1)))
    base = {"hub": name, "config": config, "split": split, "revision": source.revision, "identity": identity}
    return [{**base, "start": at, "stop": min(at + rows, len(data))} for at in range(0, max(1, len(data)), rows)], data


def load_split(name: str, config: str | None, split: str | None, revision: str | None) -> tuple[str, Any]:
    """(name of the split, its rows). Without a name: the only split, or `train`. Raises StepError R615 or R616."""
    import datasets

    try:
        found = datasets.load_dataset(name, config, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        advice = (
            "check the name, `config`, `revision`, and that the hub can be reached; private data needs `hf auth login`"
        )
        why = f": {' '.join(str(error.__cause__).split())[:300]}" if error.__cause__ is not None else ""
        raise StepError(f"hf://{name} cannot be loaded: {error}{why}", code="R615", help=advice) from error
    if split is None:
        split = "train" if "train" in found or len(found) != 1 else str(next(iter(found)))
    if split not in found:
        near = did_you_mean(split, map(str, found))
        raise StepError(
            f"hf://{name} has no split `{split}`; there are {', '.join(map(str, found))}", code="R616", help=near
        )
    return split, found[split]


def read_hub(piece: Mapping[str, Any], warn: Callable[[str, int], None]) -> Generator[Parsed | BadRow, None, int]:
    """The rows of one piece. Raises StepError R612 if they are not those that the plan saw."""
    _, data = load_split(piece["hub"], piece["config"], piece["split"], piece["revision"])
    if data._fingerprint != piece["identity"]["fingerprint"]:
        raise StepError(f"hf://{piece['hub']} changed while it was read", code="R612", help="name a `revision:`")
    start, stop = int(piece["start"]), int(piece["stop"])
    size = max(1, min(CHUNK_ROWS, int(BLOCK * len(data) / max(int(data.data.nbytes), 1))))
    done = 0
    for table in data.select(range(start, stop)).with_format("arrow").iter(batch_size=size):
        for batch in table.combine_chunks().to_batches():
            yield plain_rows(batch, done, lambda text, count: warn(f"{HUB}{piece['hub']}: {text}", count))
            done += batch.num_rows
    return done


def _parts(path: str, source: Source) -> tuple[str, str | None]:
    owner, _, rest = path.removeprefix(HUB).partition("/")
    name, _, config = rest.partition("/")
    if not owner or not name:
        raise StepError(
            f"`{path}` names no data set", code="R614", help="write hf://owner/name or hf://owner/name/config"
        )
    return f"{owner}/{name}", config or source.config


def _commit(data: Any) -> str | None:
    """The commit that the rows come from, as the library noted it when it downloaded them."""
    named = (_COMMIT.search(str(url)) for url in data.info.download_checksums or {})
    return next((match.group(1) for match in named if match), None)
