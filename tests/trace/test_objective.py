"""Objectives against closed forms and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.errors import OptionError
from pellucid.trace.objective import OBJECTIVES, objective


def test_values_equal_closed_forms() -> None:
    z = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, -1e9]])
    ids = torch.tensor([2, 1])
    p = np.array([np.exp(3) / (np.exp(1) + np.exp(2) + np.exp(3)), 0.5])
    logits = torch.tensor(z)
    np.testing.assert_allclose(objective("logit").function(logits, ids), [3.0, 0.0])
    np.testing.assert_allclose(objective("prob").function(logits, ids), p, rtol=1e-12)
    np.testing.assert_allclose(objective("logprob").function(logits, ids), np.log(p), rtol=1e-12)


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[1e4, 0.0]])
    assert objective("logprob").function(logits, torch.tensor([1])).item() == -1e4
    assert objective("prob").function(logits, torch.tensor([0])).item() == 1.0


def test_unknown() -> None:
    with pytest.raises(OptionError, match=r"unknown objective 'logprop': expected one of .* Did you mean 'logprob'\?"):
        objective("logprop")
    assert all(o.name == name and o.formula and o.unit for name, o in OBJECTIVES.items())
