"""The log odds that a map explains."""

import pytest
import torch

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.interpretation.evidence import column, evidence
from medai.task.task import Head

BINARY = Label("nodule", "binary", ("absent", "present"))
CLASSES = Label("view", "multiclass", ("ap", "pa", "lateral"))
GRADES = Label("stage", "ordinal", ("0", "1", "2", "3"))


def test_a_binary_logit_is_its_own_evidence_and_a_class_has_log_odds_against_the_rest() -> None:
    logit = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    got = evidence(logit, (BINARY, CLASSES))
    probability = torch.softmax(logit[:, 1:], dim=1)
    assert torch.equal(got[:, 0], logit[:, 0])
    torch.testing.assert_close(got[:, 1:], torch.log(probability / (1 - probability)))


def test_a_constant_added_to_the_logits_of_a_softmax_is_no_evidence() -> None:
    logit = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(evidence(logit + 7, (CLASSES,)), evidence(logit, (CLASSES,)))


def test_the_evidence_of_grades_is_the_networks_own_output_but_for_a_constant() -> None:
    head, f = Head((GRADES,)), torch.linspace(-6, 6, 9)[:, None]
    got = evidence(head(f), (GRADES,)).detach()
    assert got.shape == (9, 4)
    torch.testing.assert_close(got - got[:1], (f - f[:1]).expand(9, 4))


def test_columns_are_found_by_label_and_class_and_wrong_ones_are_named() -> None:
    labels = (BINARY, GRADES)
    assert [column(labels, "nodule", 0), column(labels, "nodule", 1), column(labels, "stage", 2)] == [0, 0, 3]
    with pytest.raises(MedaiError, match="no label 'lung'; it has: nodule, stage"):
        column(labels, "lung", 0)
    with pytest.raises(MedaiError, match="label 'stage' has no class 4; it has 0 to 3: 0, 1, 2, 3"):
        column(labels, "stage", 4)
