"""The same rows through a peer: distilabel, curator or data-designer, with telemetry off. One JSON line, as client.py.

    PEER_PYTHON peers.py curator --url http://127.0.0.1:8399/v1 --rows 2000 --concurrency 64 --store DIR

Each peer lives in an environment of its own (they exclude each other):

    pip install "distilabel[openai]==1.5.3" requests     # requests: it imports it and does not declare it
    pip install bespokelabs-curator==0.1.31
    pip install data-designer==0.9.6
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def questions(rows: int) -> list[dict[str, str]]:
    return [{"instruction": f"Question {i}: what is {i} + {i + 1}?"} for i in range(rows)]


def distilabel(url: str, rows: int, concurrency: int, store: Path) -> list[Any]:
    """Its concurrency is the size of a batch, which is gathered as a whole."""
    from distilabel.models.llms import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    with Pipeline(name="bench", cache_dir=str(store)) as pipeline:
        load = LoadDataFromDicts(name="load", data=questions(rows), batch_size=concurrency)
        sampling = {"max_new_tokens": 256, "temperature": 0.7}
        model = OpenAILLM(model="scripted", base_url=url, api_key="sk-none", generation_kwargs=sampling)
        load >> TextGeneration(name="generate", input_batch_size=concurrency, llm=model)
    return list(pipeline.run()["default"]["train"]["generation"])


def curator(url: str, rows: int, concurrency: int, store: Path) -> list[Any]:
    """It counts tokens with tiktoken, whose vocabulary litellm ships, and wants a model name that litellm knows."""
    litellm = importlib.util.find_spec("litellm")
    assert litellm is not None
    vocabulary = Path(str(litellm.origin)).parent / "litellm_core_utils" / "tokenizers"
    os.environ.update(TIKTOKEN_CACHE_DIR=str(vocabulary), CURATOR_CACHE_DIR=str(store), OPENAI_API_KEY="sk-none")
    from bespokelabs import curator as bespoke
    from datasets import Dataset

    class Generate(bespoke.LLM):
        def prompt(self, row: dict[str, str]) -> str:
            return row["instruction"]

        def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
            return {"instruction": row["instruction"], "generation": response}

    limits = {"max_concurrent_requests": concurrency, "max_requests_per_minute": 10**6, "max_tokens_per_minute": 10**9}
    backend = {"base_url": url, "api_key": "sk-none", "max_retries": 10, "require_all_responses": False, **limits}
    backend |= {"in_mtok_cost": 1, "out_mtok_cost": 1}
    sampling = {"max_tokens": 256, "temperature": 0.7}
    model = Generate(model_name="gpt-4o-mini", backend="openai", generation_params=sampling, backend_params=backend)
    return list(model(Dataset.from_list(questions(rows))).dataset["generation"])


def data_designer(url: str, rows: int, concurrency: int, store: Path) -> list[Any]:
    """Its unit of resume is a group of 1,000 rows."""
    os.environ.update(DATA_DESIGNER_HOME=str(store / "home"), BENCH_KEY="sk-none")
    import data_designer.config as dd
    import pandas as pd
    from data_designer.interface import DataDesigner

    seed = store / "seed.parquet"
    pd.DataFrame(questions(rows)).to_parquet(seed)
    provider = dd.ModelProvider(name="local", endpoint=url, provider_type="openai", api_key="BENCH_KEY")
    sampling = dd.ChatCompletionInferenceParams(temperature=0.7, max_tokens=256, max_parallel_requests=concurrency)
    model = dd.ModelConfig(
        alias="m", model="scripted", provider="local", skip_health_check=True, inference_parameters=sampling
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(dd.LocalFileSeedSource(path=str(seed)))
    builder.add_column(dd.LLMTextColumnConfig(name="generation", model_alias="m", prompt="{{ instruction }}"))
    designer = DataDesigner(artifact_path=str(store / "artifacts"), model_providers=[provider])
    designer.set_run_config(dd.RunConfig(otel_metrics_port=None))
    return list(designer.create(builder, num_records=rows, dataset_name="bench").load_dataset()["generation"])


PEERS = {"distilabel": distilabel, "curator": curator, "data-designer": data_designer}
QUIET = {
    "TELEMETRY_ENABLED": "false",
    "NEMO_TELEMETRY_ENABLED": "false",
    "CURATOR_VIEWER": "0",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("peer", choices=list(PEERS))
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--store", type=Path, default=Path("bench-store"))
    given = parser.parse_args()
    given.store.mkdir(parents=True, exist_ok=True)
    os.environ.update(QUIET, HF_HOME=str(given.store / "hf"))
    begun = time.perf_counter()
    answers = PEERS[given.peer](given.url, given.rows, given.concurrency, given.store)
    lost = given.rows - sum(isinstance(answer, str) for answer in answers)
    figures = {"rows": given.rows, "lost": lost, "run_s": round(time.perf_counter() - begun, 3)}
    sys.stdout.write("\n" + json.dumps(figures) + "\n")  # peers print as well: the last line is ours


if __name__ == "__main__":
    main()
