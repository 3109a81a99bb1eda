"""Run an operation again and again on fresh copies of a folder, and kill it (SIGKILL) at its 1st, 2nd, ... call that touches the disk.

    python kill_driver.py seal|submit TEMPLATE OUTPUT

OUTPUT/<k> is the folder as the k-th kill left it; the last one ran to its end. Each process works on a fork of this one, which has imported
everything and started no thread.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from medai.cohort.cohort import Cohort
from medai.evaluation.group import groups_of
from medai.seal.audit import audit_ledger
from medai.seal.seal import seal_cohort
from medai.seal.session import SealedSession
from medai.seal.terms import Terms

__all__ = ["audit_ledger", "groups_of"]  # imported before the fork
CALLS = ("fsync", "replace", "write", "unlink", "ftruncate")
TERMS = Terms("auroc", "sick", 3, ladder=0.01)
VALUE = 0.8437251


def main(operation: str, template: Path, output: Path) -> None:
    for number in range(1, 200):
        folder = Path(shutil.copytree(template, output / f"{number:03d}"))
        child = os.fork()
        if child == 0:
            die_at(number)
            try:
                {"seal": seal, "submit": submit}[operation](folder)
            except BaseException as error:  # told, and another exit code than that of a kill
                print(f"{number}: {error!r}", file=sys.stderr)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            continue
        sys.exit(os.waitstatus_to_exitcode(status))
    sys.exit("the operation never ended")


def die_at(number: int) -> None:
    """Have the n-th call kill the process: before it, or, of a write, in its middle."""
    count = 0

    def dying(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                if name == "write":
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **keywords)

        return wrapped

    for name in CALLS:
        setattr(os, name, dying(name, getattr(os, name)))


def cohort_in(folder: Path) -> Cohort:
    return Cohort.open(next((folder / "data/cohorts").glob("set-*")))


def seal(folder: Path) -> None:
    seal_cohort(cohort_in(folder), folder / "office/evaluator.key", TERMS)


def submit(folder: Path) -> None:
    with SealedSession(cohort_in(folder), folder / "office/evaluator.key") as session:
        session.begin("a" * 64, "table", {})
        table = session.with_labels(session.cases()).select(
            "case_id", pl.col("sick").alias("target.sick"), pl.Series("probability.sick", np.linspace(0, 1, session.cases().height))
        )
        metrics = {"schema": "medai.metrics/1", "cases": len(table), "labels": {"sick": {"auroc": {"value": VALUE}}}}
        released = session.commit(SimpleNamespace(table=table, metrics=metrics, labels=session.cohort.labels, thresholds={}))  # type: ignore[arg-type]
    with open(folder / "shown.txt", "w", encoding="utf-8") as stream:
        stream.write(str(released["seal"]["best"]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
