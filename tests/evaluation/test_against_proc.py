"""A live cross-check against pROC: 200 random data sets with ties, all in one process of R."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from medai.evaluation.auroc import auroc, auroc_interval, paired_auroc, unpaired_auroc
from medai.evaluation.partial import partial_auroc

SETS = 200
SCRIPT = r"""
suppressMessages(library(pROC))
options(warn = -1)
given <- commandArgs(trailingOnly = TRUE)
all <- read.csv(given[1])
rows <- lapply(split(all, all$set), function(d) {
  r <- function(s, y) roc(y, s, levels = c(0, 1), direction = "<", quiet = TRUE)
  a <- r(d$first, d$truth); b <- r(d$second, d$truth)
  half <- seq_len(nrow(d)) %% 2 == 0
  g <- r(d$first[half], d$truth[half]); h <- r(d$first[!half], d$truth[!half])
  both <- roc.test(a, b, method = "delong", paired = TRUE)
  more <- roc.test(a, b, method = "delong", paired = TRUE, alternative = "greater")
  apart <- roc.test(g, h, method = "delong", paired = FALSE)
  part <- function(...) as.numeric(auc(a, partial.auc = c(1, 0.8), ...))
  interval <- as.numeric(ci.auc(a, method = "delong"))
  c(d$set[1], as.numeric(auc(a)), var(a, method = "delong"), interval[1], interval[3], cov(a, b, method = "delong"),
    both$statistic, both$p.value, both$conf.int[1], both$conf.int[2], more$p.value, apart$statistic, apart$parameter, apart$p.value,
    part(partial.auc.focus = "specificity"), part(partial.auc.focus = "sensitivity"),
    part(partial.auc.focus = "specificity", partial.auc.correct = TRUE))
})
write.table(format(do.call(rbind, rows), digits = 17), given[2], sep = ",", row.names = FALSE, col.names = FALSE, quote = FALSE)
"""


@pytest.fixture(scope="module")
def rscript() -> str:
    found = shutil.which("Rscript")
    if found is None:
        pytest.skip("no Rscript (Debian: r-base-core, r-cran-proc)")
    if subprocess.run([found, "-e", "library(pROC)"], capture_output=True, timeout=60).returncode:
        pytest.skip("R has no pROC (Debian: r-cran-proc)")
    return found


def sets() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Truth and two scores, rounded so that many tie, with three of each class at least in either half."""
    generator, made = np.random.default_rng(20), []
    while len(made) < SETS:
        n = int(generator.integers(16, 120))
        truth = generator.random(n) < generator.uniform(0.2, 0.8)
        half = np.arange(n) % 2 == 1
        if min(truth[half].sum(), (~truth[half]).sum(), truth[~half].sum(), (~truth[~half]).sum()) < 3:
            continue
        skill, common = generator.uniform(-0.3, 2, 2), generator.normal(size=n)
        scores = [np.round(common + generator.normal(size=n) + each * truth, int(generator.integers(0, 3))) for each in skill]
        made.append((truth, *scores))
    return made


def test_two_hundred_random_data_sets_with_ties_agree_with_proc(rscript: str, tmp_path: Path) -> None:
    data = sets()
    with (tmp_path / "sets.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["set", "truth", "first", "second"])
        for number, (truth, first, second) in enumerate(data):
            rows.writerows([number, int(y), float(a), float(b)] for y, a, b in zip(truth, first, second, strict=True))
    (tmp_path / "check.R").write_text(SCRIPT)
    command = [rscript, str(tmp_path / "check.R"), str(tmp_path / "sets.csv"), str(tmp_path / "found.csv")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stderr
    lines = [
        [float(cell) if cell.strip() not in ("NA", "NaN") else np.nan for cell in line.split(",")]
        for line in (tmp_path / "found.csv").read_text().splitlines()
    ]
    assert len(lines) == SETS
    assert sum(len(np.unique(first)) < len(first) / 2 for _, first, _ in data) > SETS / 4
    for line in lines:
        truth, first, second = data[int(line[0])]
        half = np.arange(len(truth)) % 2 == 1
        one, paired = auroc(first, truth), paired_auroc(first, second, truth)
        apart = unpaired_auroc(auroc(first[half], truth[half]), auroc(first[~half], truth[~half]))
        ours = [
            one.value, one.variance, *auroc_interval(one, kind="wald")[:2], paired.covariance,
            paired.z, paired.p, paired.low, paired.high, paired.p_greater, apart.statistic, apart.df, apart.p,
            partial_auroc(first, truth, "specificity", (1, 0.8)), partial_auroc(first, truth, "sensitivity", (1, 0.8)),
            partial_auroc(first, truth, "specificity", (1, 0.8), corrected=True),
        ]  # fmt: skip
        assert ours == pytest.approx(line[1:], abs=1e-9, nan_ok=True), f"data set {int(line[0])}"
