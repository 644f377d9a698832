"""Runs every benchmark and prints one table: what, value, target."""

import importlib
import sys

NAMES = (
    "make_sketches",
    "extract_flow",
    "estimators",
    "render",
    "train_step",
    "generate_frame",
    "backends",
    "tracking",
    "data_path",
    "object_store",
    "growth",
    "ray_engine",
    "busy_neighbour",
    "independent_frames",
)


def main() -> None:
    """`python -m benchmarks [NAME...]`."""
    rows = []
    for name in sys.argv[1:] or NAMES:
        rows += importlib.import_module(f"benchmarks.{name}").run()
    width = max(len(row[0]) for row in rows)
    print(f"{'what':{width}}  {'value':>8}  target")
    for what, value, target in rows:
        print(f"{what:{width}}  {value:8.3f}  {target}")


if __name__ == "__main__":
    main()
