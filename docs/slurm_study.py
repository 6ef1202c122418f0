"""Run a study on SLURM, small jobs of the study put together.

    python docs/slurm_study.py study.yaml --out runs/llama --partition gpu --gpus 1 --hours 12

Needs `pip install -e ".[cluster]"`. Run it on a login node, on a folder that all nodes see. Run
it again to go on after an interruption; `--cluster local` tries it on this machine, without SLURM.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dfa_tl import DFAError, analysis
from dfa_tl.io.output import output_folder
from dfa_tl.study import StudyConfig, run_study


def main() -> None:
    """Submit what is missing, wait for it, write the tables."""
    parser = argparse.ArgumentParser(description="Run a study on SLURM.")
    parser.add_argument("config", type=Path, help="YAML file with the settings of the study")
    parser.add_argument("--out", type=Path, required=True, help="folder that all nodes see")
    parser.add_argument("--cluster", default="slurm", choices=["slurm", "local"])
    parser.add_argument("--partition", help="SLURM partition")
    parser.add_argument("--gpus", type=int, default=1, help="per job")
    parser.add_argument("--cpus", type=int, default=4, help="per job")
    parser.add_argument("--memory-gb", type=int, default=64, help="per job")
    parser.add_argument("--hours", type=int, default=12, help="time limit of a job")
    parser.add_argument("--pieces", type=int, default=100, help="about how many SLURM jobs to make")
    arguments = parser.parse_args()

    import submitit

    out = output_folder(arguments.out)
    executor = submitit.AutoExecutor(out / "logs", cluster=arguments.cluster)
    executor.update_parameters(
        timeout_min=60 * arguments.hours,
        cpus_per_task=arguments.cpus,
        gpus_per_node=arguments.gpus,
        mem_gb=arguments.memory_gb,
    )
    if arguments.partition:
        executor.update_parameters(slurm_partition=arguments.partition)
    config = StudyConfig.from_yaml(arguments.config)
    results = run_study(config, out, executor, pieces=arguments.pieces)
    written = analysis.write_tables(results, out / "tables")
    print(f"{len(written)} files in {out / 'tables'}")
    if results.failures:
        raise SystemExit(f"error: {len(results.failures)} jobs failed; run the same line again")


if __name__ == "__main__":
    try:
        main()
    except DFAError as error:
        raise SystemExit(f"error: {error}") from error
