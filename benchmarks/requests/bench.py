"""Requests to a chat model: what the session costs beside a bare client, and what it loses when the server misbehaves.

    python bench.py                      the cases clean, faults, overload, kill, replay
    python bench.py clean --rows 500     a quick look
    python bench.py peers --peer curator=/path/to/its/python

Each case starts a fresh scripted server in a process of its own, on 127.0.0.1. The bare aiohttp client runs in the same
case, so ratios hold on a busy machine too. `wall` is the whole process; `span` is from the first request to the last
answer, as the server saw it; CPU is that of the whole process with its start. Writes results.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LATENCY = 0.2
SHOWN = ("case", "client", "concurrency", "wall_over_ideal", "span_over_ideal", "wall_s", "span_s", "cpu_s", "start_mb", "peak_mb", "sent", "lost",
         "in_flight_mean", "faults", "repeated", "rows_a_second", "load")  # fmt: skip


@contextmanager
def server(*options: str) -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "sftrecipe.testing.server",
        "--port",
        "0",
        "--latency",
        str(LATENCY),
        "--max-seconds",
        "300",
    ]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["base_url"]
    finally:
        process.terminate()
        process.wait(10)


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=10) as answer:
        return dict(json.loads(answer.read()))


def start(client: Sequence[str], url: str, rows: int, concurrency: int, store: Path) -> subprocess.Popen[str]:
    command = [*client, "--url", url, "--rows", str(rows), "--concurrency", str(concurrency), "--store", str(store)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=None if client[1].endswith("client.py") else subprocess.DEVNULL,
        text=True,
    )


def own(name: str) -> list[str]:
    return [sys.executable, str(HERE / "client.py"), name]


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(client: Sequence[str], url: str, rows: int, concurrency: int, store: Path) -> dict[str, Any]:
    begun, cpu = time.perf_counter(), children_cpu()
    out, _ = start(client, url, rows, concurrency, store).communicate(timeout=280)
    wall = time.perf_counter() - begun
    seen = stats(url)
    figures = {"wall_s": round(wall, 3), "cpu_s": round(children_cpu() - cpu, 3), "span_s": seen["span"]}
    figures |= {"sent": seen["requests"], "in_flight_mean": seen["in_flight_mean"], "faults": seen["faults"]}
    return dict(json.loads(out.strip().splitlines()[-1])) | figures


def case(
    name: str, client: Sequence[str], rows: int, concurrency: int, *options: str, ideal: float = 0.0
) -> dict[str, Any]:
    with server(*options) as url, tempfile.TemporaryDirectory() as folder:
        found = run(client, url, rows, concurrency, Path(folder))
    ideal = ideal or rows * LATENCY / concurrency
    line = {"case": name, "client": client[2], "concurrency": concurrency, "ideal_s": round(ideal, 2), **found}
    line |= {"wall_over_ideal": round(found["wall_s"] / ideal, 2), "span_over_ideal": round(found["span_s"] / ideal, 2)}
    line["load"] = round(os.getloadavg()[0], 1)
    say(line)
    return line


def say(line: dict[str, Any], **more: Any) -> None:
    sys.stdout.write("  ".join(f"{k}={line[k]}" for k in SHOWN if k in line) + "\n")
    for name, value in more.items():
        sys.stdout.write(f"    {name.replace('_', ' ')}: {value}\n")
    sys.stdout.flush()


def clean(rows: int, _: Sequence[str]) -> list[dict[str, Any]]:
    out = []
    for concurrency in (64, 256):
        bare, ours = (case("clean", own(name), rows, concurrency) for name in ("bare", "ours"))
        ours["cpu_over_bare"] = round(ours["cpu_s"] / bare["cpu_s"], 2)
        ours["wall_over_bare"] = round(ours["wall_s"] / bare["wall_s"], 2)
        sys.stdout.write(f"    CPU over bare: {ours['cpu_over_bare']}, wall over bare: {ours['wall_over_bare']}\n")
        out += [bare, ours]
    return out


def faults(rows: int, _: Sequence[str]) -> list[dict[str, Any]]:
    none = case("no faults", own("ours"), rows, 64)
    shares = ["--fault", "429=0.05", "--fault", "500=0.02", "--fault", "bad_json=0.01"]
    mixed = case("5% 429, 2% 500, 1% bad_json", own("ours"), rows, 64, *shares)
    some = case("5% 429", own("ours"), rows, 64, *shares[:2])
    some["over_none"] = round(some["wall_s"] / none["wall_s"], 2)
    sys.stdout.write(f"    5% 429 over none, wall: {some['over_none']}\n")
    return [none, mixed, some]


def overload(rows: int, _: Sequence[str]) -> list[dict[str, Any]]:
    shed = case("sheds above 40 in flight", own("ours"), rows, 64, "--max-in-flight", "40", ideal=rows * LATENCY / 40)
    timed = ["--per-minute", "6000", "--retry-after", "1"]
    rate = case("6,000 a minute", own("ours"), rows, 64, *timed, ideal=(rows - 100) / 100)
    plain = case("6,000 a minute, no Retry-After", own("ours"), rows, 64, *timed[:2], ideal=(rows - 100) / 100)
    for line in (shed, rate, plain):
        line["extra"] = round(line["sent"] / rows - 1, 3)
        sys.stdout.write(f"    {line['case']}: extra requests {line['extra']:.1%}\n")
    return [shed, rate, plain]


def kill(rows: int, _: Sequence[str]) -> list[dict[str, Any]]:
    """kill -9 when the server has seen half; then the same command again."""
    out = []
    for concurrency in (64, 256):
        with server() as url, tempfile.TemporaryDirectory() as folder:
            process = start(own("ours"), url, rows, concurrency, Path(folder))
            while stats(url)["requests"] < rows / 2:
                time.sleep(0.02)
            in_flight = stats(url)["in_flight"]
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            line = {
                "case": "kill -9 at half, again",
                "client": "ours",
                "concurrency": concurrency,
                "in_flight_at_kill": in_flight,
            }
            line |= run(own("ours"), url, rows, concurrency, Path(folder))
        line["repeated"] = line["sent"] - rows
        say(line, in_flight_at_the_kill=in_flight)
        out.append(line)
    return out


def replay(rows: int, _: Sequence[str]) -> list[dict[str, Any]]:
    """The same rows again, all recorded."""
    with server() as url, tempfile.TemporaryDirectory() as folder:
        run(own("ours"), url, rows, 256, Path(folder))
        line = run(own("ours"), url, rows, 256, Path(folder))
    line = {"case": "replay of recorded answers", "client": "ours", **line, "sent": line["sent"] - rows}
    line["rows_a_second"] = round(rows / line["run_s"])
    say(line)
    return [line]


def peers(rows: int, known: Sequence[str]) -> list[dict[str, Any]]:
    out = []
    for concurrency in (64, 256):
        out += [case("clean", own(name), rows, concurrency) for name in ("bare", "ours")]
        for name, _, python in (entry.partition("=") for entry in known):
            out.append(case("clean", [python, str(HERE / "peers.py"), name], rows, concurrency))
    return out


CASES = {"clean": clean, "faults": faults, "overload": overload, "kill": kill, "replay": replay, "peers": peers}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; none: all but peers")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="an environment with a peer")
    given = parser.parse_args()
    wanted = given.cases or [name for name in CASES if name != "peers"]
    if unknown := set(wanted) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}")
    results = HERE / "results.json"
    found = json.loads(results.read_text()) if results.exists() else {}
    for name in wanted:
        found[name] = CASES[name](given.rows, given.peer)
        results.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
