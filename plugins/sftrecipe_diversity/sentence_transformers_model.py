"""Embedder `sentence-transformers`: any model of that library, from the hub or a folder, on any device.

Texts become unit vectors float32 [N, d] by the model's own pooling. Equal texts are encoded once, so they get equal
vectors; texts are encoded longest first by tokens, so little of a batch is padding. Weights are read as safetensors
only; code that a repository brings is never run. Texts beyond `max_length` tokens are cut: `fit` counts them on a
sample and the step says how many.

What an answer depends on, and so the identity: the hub's commit, or the sha256 of a local folder's weights and of its
configuration; precision, max_length and prompt. Batch size and device change the last digits only.
Cost: that of the library's `encode`; all-MiniLM-L6-v2 does about 150 short texts a CPU second.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from sftrecipe import Param, Provider, StepError
from sftrecipe.lazy import np

__all__ = ["SentenceTransformersEmbedder", "SentenceTransformersModel", "folder_digest", "language_of", "pooling_of"]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ENGLISH = re.compile(
    r"(^|/)(all|multi-qa|msmarco|gtr|sentence-t5)-|[-_]en($|[-_])|(^|/)e5-(small|base|large)(-v2)?$", re.IGNORECASE
)
_LOOKED_AT = 2_000
_MARKS = ("modules.json", "config.json")


@lru_cache(maxsize=16)
def folder_digest(folder: Path) -> Mapping[str, str]:
    """sha256 of a local model's weights (`weights`) and of its configuration and tokenizer files (`config`).

    Raises StepError when there are no safetensors weights.
    """
    weights = sorted(folder.rglob("*.safetensors"))
    if not weights:
        raise StepError(
            f"{folder} holds no *.safetensors weights",
            help="save the model again as safetensors; other formats are not read",
        )
    others = [p for p in sorted(folder.rglob("*")) if p.suffix in (".json", ".txt", ".model") and p.is_file()]
    return {"weights": _digest(folder, weights), "config": _digest(folder, others)}


def _digest(folder: Path, files: Iterable[Path]) -> str:
    """One file: its own sha256. Several: the sha256 of names and sha256s."""
    sums = {p.relative_to(folder).as_posix(): _sha256(p) for p in files}
    return (
        next(iter(sums.values()))
        if len(sums) == 1
        else hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return (
            hashlib.file_digest(stream, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _slow_sha256(stream)
        )


def _slow_sha256(stream: Any) -> str:
    total = hashlib.sha256()
    while block := stream.read(1 << 20):
        total.update(block)
    return total.hexdigest()


def pooling_of(folder: Path) -> str:
    """How token states become one vector, from a local model's files: `mean` (the default), `cls` and so on."""
    listed = folder / "modules.json"
    if not listed.is_file():
        return "mean"
    for module in json.loads(listed.read_text("utf-8")):
        if str(module.get("type", "")).endswith("Pooling"):
            config = json.loads((folder / str(module["path"]) / "config.json").read_text("utf-8"))
            if "pooling_mode" in config:
                return str(config["pooling_mode"])
            on = [
                k.removeprefix("pooling_mode_").removesuffix("_tokens")
                for k, v in config.items()
                if k.startswith("pooling_mode_") and v
            ]
            return "+".join(on).replace("cls_token", "cls") or "mean"
    return "none"


def language_of(name: str, card: str) -> str | None:
    """A model's language: from its card's front matter (README.md), else `en` for known English names, else None."""
    import yaml

    front = re.match(r"---\s*\n(.*?)\n---", card, re.DOTALL)
    try:
        data = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError:  # a card is prose by anyone: one that cannot be read says nothing
        data = None
    told = data.get("language") if isinstance(data, dict) else None
    if isinstance(told, list):
        told = told[0] if len(told) == 1 else ("multilingual" if told else None)
    if told is False:  # YAML 1.1 reads the code of Norwegian as a truth value
        told = "no"
    return str(told) if told else ("en" if _ENGLISH.search(name) else None)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Weights load without a bar on the terminal, which belongs to the run."""
    from transformers.utils import logging as library

    logging: Any = library  # it has no annotations
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@dataclass
class SentenceTransformersEmbedder:
    """The live model. `network` is a `sentence_transformers.SentenceTransformer`."""

    network: Any
    batch_size: int = 32
    prompt: str | None = None
    language: str | None = None
    fit_rows: int = _LOOKED_AT

    def fit(self, texts: Sequence[str]) -> Mapping[str, Any]:
        """Learns nothing; counts `texts_cut` of `texts_seen`: those of more than `max_length` tokens."""
        limit = self.network.max_seq_length
        cut = int((self._lengths(texts, None) > limit).sum()) if limit and texts else 0
        return {"texts_seen": len(texts), "texts_cut": cut, "max_length": limit and int(limit)}

    def embed(self, texts: Sequence[str], state: Mapping[str, Any] | None = None) -> np.ndarray:
        """float32 [N, d], unit rows; blank texts get zeros. Raises StepError when the model gives no finite numbers."""
        at = {text: k for k, text in enumerate(dict.fromkeys(t for t in texts if t.strip()))}
        if not at:
            return np.zeros((len(texts), int(self.network.get_embedding_dimension() or 0)), np.float32)
        vectors = self._encode(list(at))
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        if not np.isfinite(norms).all():
            text = list(at)[int((~np.isfinite(norms[:, 0])).argmax())]
            raise StepError(f"the encoder gave no finite vector for {text[:60]!r}", help="try `precision: float32`")
        units = np.zeros((len(at) + 1, vectors.shape[1]), np.float32)  # the last row is that of blank texts
        np.divide(vectors, norms, out=units[:-1], where=norms > 0, casting="same_kind")
        return units[[at.get(t, len(at)) for t in texts]]

    def _encode(self, texts: list[str]) -> np.ndarray:
        """Batches of texts of nearly equal length, longest first. The library sorts by characters, which pads more."""
        order = np.argsort(-self._lengths(texts, self.network.max_seq_length), kind="stable")
        parts = []
        for start in range(0, len(order), self.batch_size):
            batch = [texts[k] for k in order[start : start + self.batch_size]]
            parts.append(self.network.encode(batch, batch_size=len(batch), prompt=self.prompt, show_progress_bar=False))
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        return vectors

    def _lengths(self, texts: Sequence[str], limit: int | None) -> np.ndarray:
        """Tokens of each text (at most `limit`); characters for models whose tokenizer is no transformers tokenizer."""
        tokenizer = self.network.tokenizer
        if not callable(tokenizer):
            return np.array([len(t) for t in texts])
        whole = [(self.prompt or "") + t for t in texts]
        ids = tokenizer(whole, truncation=bool(limit), max_length=limit or None, verbose=False)["input_ids"]
        return np.array([len(i) for i in ids])


class SentenceTransformersModel(Provider):
    """Any sentence-transformers model: a hub name (`sentence-transformers/all-MiniLM-L6-v2`) or a local folder."""

    serves: ClassVar[Sequence[str]] = ("Embedder",)
    needs: ClassVar[Sequence[str]] = ("embed",)
    place: ClassVar[str] = "device"

    model: str = Param(doc="Hub name, or a local folder (absolute, or from the working folder).", positional=True)
    revision: str | None = Param(
        None, doc="Commit, tag or branch on the hub; left out: the one in the cache, else `main`."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Param(
        "auto", doc="Where it runs; `auto` takes an accelerator if there is one."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Param("float32", doc="Numbers that the network computes in.")
    max_length: int | None = Param(
        None, ge=2, doc="Most tokens of a text that are read; left out: the model's own limit."
    )
    batch_size: int = Param(32, ge=1, doc="Texts at a time.")
    prompt: str | None = Param(None, doc="Text put before every text, for models trained with one (`query: `).")
    language: str | None = Param(
        None, doc="`en`, another code, or `multilingual`; left out: read from the model's card."
    )

    def identity(self) -> Mapping[str, Any]:
        """Commit or file hashes, precision, max_length, prompt, pooling. StepError when the hub cannot be reached."""
        folder = self._folder()
        if folder is None:
            what: dict[str, Any] = {"model": self.model, "revision": self._commit()}
        else:
            what = {"pooling": pooling_of(folder), **folder_digest(folder)}
        return {**what, "precision": self.precision, "max_length": self.max_length, "prompt": self.prompt}

    def open(self) -> SentenceTransformersEmbedder:
        """Loads the network. Raises StepError that says what to do when it is not here and cannot be fetched."""
        import torch
        from sentence_transformers import SentenceTransformer

        folder = self._folder()
        if folder is not None:
            folder_digest(folder)  # refuses weights that are no safetensors before the library reads anything else
        if self.device == "cuda" and not torch.cuda.is_available():
            raise StepError(
                "device `cuda` is asked for, and torch sees none here", help="`device: auto` takes what there is"
            )
        revision = None if folder else self._commit()
        try:
            with _no_progress_bar():
                network = SentenceTransformer(
                    str(folder or self.model),
                    device=None if self.device == "auto" else self.device,
                    revision=revision,
                    trust_remote_code=False,
                    model_kwargs={"dtype": getattr(torch, self.precision), "use_safetensors": True},
                )
        except (OSError, ValueError) as error:
            raise self._missing(error) from error
        if self.max_length is not None:
            network.max_seq_length = self.max_length
        language = self.language or language_of(self.model, self._card(folder))
        return SentenceTransformersEmbedder(network.eval(), self.batch_size, self.prompt, language)

    def _folder(self) -> Path | None:
        path = Path(self.model).expanduser()
        if path.is_dir():
            return path.resolve()
        if path.is_absolute() or self.model.startswith((".", "~")) or self.model.count("/") > 1:
            raise StepError(f"model folder {self.model} does not exist", help="paths are taken from the working folder")
        return None

    def _commit(self) -> str:
        """The commit that `revision` stands for: itself, else the cached one, else the hub's word."""
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import RemoteEntryNotFoundError

        revision = self.revision or "main"
        if _COMMIT.fullmatch(revision):
            return revision
        try:
            for name in _MARKS:
                cached = try_to_load_from_cache(self.model, name, revision=revision)
                if isinstance(cached, str):
                    return Path(cached).parent.name
            try:
                path = hf_hub_download(self.model, _MARKS[0], revision=revision)
            except RemoteEntryNotFoundError:
                path = hf_hub_download(self.model, _MARKS[1], revision=revision)
        except (OSError, ValueError) as error:  # no network, no such model, offline mode, no model name at all
            raise self._missing(error) from error
        return Path(path).parent.name

    def _missing(self, error: BaseException) -> StepError:
        first = str(error).strip().splitlines()[:1]
        text = f"embedding model `{self.model}` cannot be loaded: {first[0] if first else type(error).__name__}"
        return StepError(
            text, help=f"fetch it once with `hf download {self.model}`, or give `model:` a local folder, or use `tfidf`"
        )

    def _card(self, folder: Path | None) -> str:
        from huggingface_hub import try_to_load_from_cache

        found = (
            folder / "README.md" if folder else try_to_load_from_cache(self.model, "README.md", revision=self._commit())
        )
        path = Path(found) if isinstance(found, (str, Path)) else None
        return path.read_text("utf-8", errors="replace") if path and path.is_file() else ""
