"""Measures a network: parameters, multiply-accumulates, latency of each part of tracking, threads, memory.

python tracking/profile_model.py --config tiny
python tracking/profile_model.py --config nano --vs tiny onnx openvino --threads 1 2
python tracking/profile_model.py --config tiny --vs small --device cuda --output profile.json

Every run also measures the network of OSTrack-256 (ViT-B, random weights), so that each figure is a ratio from the same
machine. Trackers take turns, A B A B. Weights are random; the time does not depend on them.
"""

import argparse
import json
import tempfile
from pathlib import Path

import _init_paths  # noqa: F401

from lib.deploy.build import build_contenders
from lib.deploy.memory import measure_memory
from lib.deploy.profile import compare, cost_table, describe_machine, latency_table, measure_costs, summary_table
from lib.utils.cli import Parser, integer, run_command
from lib.utils.files import check_writable, write_text
from lib.utils.misc import available_cores, set_threads


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--config", required=True, help="experiment of the network")
    parser.add_argument(
        "--vs", nargs="+", default=[], metavar="NAME", help="other experiments, or onnx, openvino: exports of --config"
    )
    parser.add_argument(
        "--threads", type=integer(1), nargs="+", default=[], help="numbers of threads; default: 1 and all cores"
    )
    parser.add_argument("--rounds", type=integer(1), default=5, help="turns of each tracker")
    parser.add_argument("--frames", type=integer(2), default=10, help="frames per turn")
    parser.add_argument("--device", default="cpu", help="of the networks in PyTorch: cpu, cuda, mps")
    parser.add_argument("--output", default="", help="JSON file to write; default: none is written")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of --config; repeatable")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.output:
        check_writable(Path(args.output).parent)
    report = {"machine": describe_machine(args.device), "networks": {}, "memory": {}, "latency": {}}
    with tempfile.TemporaryDirectory() as folder:
        for threads in dict.fromkeys(args.threads or (1, available_cores())):
            set_threads(threads)
            contenders = build_contenders(args.config, args.set, args.vs, args.device, threads, Path(folder))
            trackers = {name: make(*arguments) for name, (make, arguments) in contenders.items()}
            if not report["networks"]:
                costs = measure_costs(trackers)
                report["networks"] = {name: cost.to_plain() for name, cost in costs.items()}
                report["memory"] = {name: measure_memory(make, *given) for name, (make, given) in contenders.items()}
                print(f"{args.config}\n{cost_table(costs[args.config])}\n\n{summary_table(costs, report['memory'])}")
            found = report["latency"][str(threads)] = compare(trackers, args.rounds, args.frames)
            print(f"\n{args.device}, {threads} threads\n{latency_table(found)}", flush=True)
    if args.output:
        write_text(args.output, json.dumps(report, indent=1))


if __name__ == "__main__":
    run_command(main)
