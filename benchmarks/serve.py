"""A server under load: 64 connections that ask for different things, for a minute; and what one request takes alone.

    python benchmarks/serve.py                            # needs locust: pip install 'pellucid[serve]' locust
    python benchmarks/serve.py --seconds 60 --users 64 --out serve.json

Starts ``pellucid serve`` as a user would, measures ``/next`` with nobody else there (median of ``ALONE`` requests),
then lets the load tool Locust (``serve_load.py``) send the mix, and prints for each kind of request how many were
answered, its median and 95th percentile, how many were told to come again (429), and whether anything else went wrong.
The figure asked for is the 95th percentile of ``/next`` under load over its median alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from serve_texts import NEXT

ALONE = 40


def main() -> None:
    """Measure, and print a table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--users", type=int, default=64)
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--model", default="smollm2-135m-instruct")
    p.add_argument("--port", type=int, default=8765)
    p.add_argument("--out", metavar="PATH", help="write the figures as JSON")
    options = p.parse_args()
    where = f"http://127.0.0.1:{options.port}"
    command = [sys.executable, "-m", "pellucid", "serve", "--no-open", "--port", str(options.port)]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([*command, "--model", options.model, "--history", f"{folder}/history.db"])
        try:
            wait_for(f"{where}/readyz", server)
            alone = [once(where) for _ in range(ALONE + 5)][5:]
            found = load(where, options, Path(folder))
            after = [once(where) for _ in range(ALONE)]
        finally:
            server.terminate()
            began = time.perf_counter()
            code = server.wait(20)
            ended = time.perf_counter() - began
    figures = {
        "alone_median_ms": round(statistics.median(alone), 1),
        "after_median_ms": round(statistics.median(after), 1),
        "next_p95_over_alone": round(found["next"]["p95"] / statistics.median(alone), 2),
        "errors": found.pop("errors"),
        "seconds_to_end": round(ended, 2),
        "exit": code,
        "requests": found,
    }
    show(figures, options)
    if options.out:
        Path(options.out).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Until the model is there."""
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit("the server ended at once; its message stands above")
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"{address} did not answer within two minutes")


def once(where: str) -> float:
    """Milliseconds of one ``/next``."""
    body = json.dumps(NEXT).encode()
    request = urllib.request.Request(f"{where}/api/v1/next", body, {"Content-Type": "application/json"})
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
    return 1000 * (time.perf_counter() - began)


def load(where: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Let Locust send the mix: by kind of request what was measured."""
    locustfile = Path(__file__).with_name("serve_load.py")
    command = [sys.executable, "-m", "locust", "-f", str(locustfile), "--headless", "--host", where, "--only-summary"]
    command += ["--users", str(options.users), "--spawn-rate", str(options.users), "--run-time", f"{options.seconds}s"]
    command += ["--csv", str(folder / "load"), "--stop-timeout", "30"]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    found: dict[str, Any] = {"errors": {}}
    with (folder / "load_stats.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["Name"] != "Aggregated":
                found[row["Name"]] = {
                    "answered": int(row["Request Count"]),
                    "failed": int(row["Failure Count"]),
                    "median": float(row["50%"]),
                    "p95": float(row["95%"]),
                }
    with (folder / "load_failures.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found["errors"][f"{row['Name']}: {row['Error']}"] = int(row["Occurrences"])
    return found


def show(figures: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the table."""
    print(f"{options.users} connections for {options.seconds} s, {options.model}\n")
    print("| request | answered | told to come again | median ms | 95th percentile ms |\n|---|---|---|---|---|")
    for name, row in sorted(figures["requests"].items()):
        if not name.endswith(" 429"):
            again = figures["requests"].get(f"{name} 429", {"answered": 0})["answered"]
            print(f"| {name} | {row['answered']} | {again} | {row['median']:.0f} | {row['p95']:.0f} |")
    print(
        f"\n/next alone: median {figures['alone_median_ms']} ms before, {figures['after_median_ms']} ms after; its "
        f"95th percentile under load is {figures['next_p95_over_alone']} times the median alone (asked: under 4)."
    )
    print(f"Errors other than 429: {figures['errors'] or 'none'}.")
    print(f"Ended {figures['seconds_to_end']} s after SIGTERM, with exit code {figures['exit']} (asked: within 2 s).")


if __name__ == "__main__":
    main()
