"""CRFs on graphs, learnt in several ways: noisy images on grids, chunking by skip-chains."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments import processes
from experiments.command import Command, check_flags, check_output, run
from experiments.flags import config_from_flags, define_config_flags, define_run_flags, entry_point
from experiments.graphs.config import CHUNKING_PRESETS, PRESETS, Config

define_config_flags(Config, PRESETS, "demo")
_WORKDIR, _FRESH = define_run_flags("runs/graphs/TASK/PRESET")
_INFER = flags.DEFINE_string(
    "infer", None, "answer about the network in this UAI file (- for standard input), by --method="
    "exact (the default), loopy, tree_reweighted or mean_field; see the end"
)  # fmt: skip
_QUERY = flags.DEFINE_enum(
    "query", "mar", ["mar", "map", "pr"],
    "mar: marginals; map: the most probable labelling; pr: log10 of the partition function",
)  # fmt: skip
_EVIDENCE = flags.DEFINE_string("evidence", None, "a file .uai.evid of observed variables")
_OUTPUT = flags.DEFINE_string("output", None, "file to write (default: standard output)")
_ITERATING = ("iterations", "tolerance", "damping")

COMMAND = Command(
    name="graphs",
    about=__doc__ or "",
    examples=(
        ("", "noisy images by a CRF on a grid, learnt in several ways"),
        ("--preset=paper", "handwritten digits; needs the extra images"),
        ("--task=chunking", "skip-chain CRFs: equal capitalised words are neighbours"),
        ("--infer=FILE.uai --query=map", "the most probable labelling of a network of your own"),
    ),
    settings=Config,
    verbs={"infer": ("query", "evidence", "output", "method", *_ITERATING)},
    run=("preset", "workdir", "fresh", *processes.FLAGS),
    for_file="--infer={}",
    notes="""
    --infer reads Markov networks (those with factors of three variables and more by --method=exact
    alone), and writes what the UAI inference competition has for results: PR, MAR or MPE, and a
    line with the answer. With it, --iterations is 1000 and --tolerance 1e-8 unless they are given.
    """,
)


def _infer() -> None:
    check_output(_OUTPUT.value)
    from rntn_jax.cli.infer import OPTIONS, infer

    given = {name: flags.FLAGS[name].value for name in _ITERATING if flags.FLAGS[name].present}
    if "iterations" in given:
        given["max_iterations"] = given.pop("iterations")
    infer(
        str(_INFER.value),
        query=str(_QUERY.value),
        method=flags.FLAGS["method"].value or "exact",
        evidence=_EVIDENCE.value,
        output=_OUTPUT.value,
        options=OPTIONS._replace(**given),
    )


def _main() -> None:
    task = flags.FLAGS["task"].value or "images"
    presets = {"images": PRESETS, "chunking": CHUNKING_PRESETS}[task]
    config = config_from_flags(Config, presets)
    if check_flags(COMMAND, config):
        return _infer()
    workdir = Path(_WORKDIR.value or f"runs/graphs/{task}/{flags.FLAGS['preset'].value}")
    from experiments.graphs import report, text_report, train

    result = train.run(config, workdir, fresh=_FRESH.value)
    table = {"images": report.table, "chunking": text_report.table}[task]
    print(report.table_text(table(result)))
    print(f"report: {result['report']}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
