"""Fixed random numbers: the same for a seed, and none of the caller's touched."""

import random

import numpy as np
import pytest
import torch

from lrsearch.tasks.randomness import fixed_randomness, random_state


def drawn():
    """Return a number from each global generator."""
    return torch.rand(()).item(), np.random.rand(), random.random()


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63 - 1])
def test_a_seed_decides_all_three_generators(seed):
    """Whatever was drawn before; another seed gives other numbers."""
    with fixed_randomness(seed):
        first = drawn()
    drawn()
    with fixed_randomness(seed):
        assert drawn() == first
    with fixed_randomness(seed + 1 if seed < 2**63 - 1 else 5):
        assert not set(drawn()) & set(first)


def test_torch_draws_what_manual_seed_gives():
    """So that code written for torch.manual_seed gets the same numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(7)
        expected = torch.rand(3)
    with fixed_randomness(7):
        assert torch.equal(torch.rand(3), expected)


def draw_and_fail():
    """Draw under fixed random numbers, one seed inside of another, and raise KeyError."""
    with fixed_randomness(0):
        drawn()
        before = random_state()
        with fixed_randomness(1):
            drawn()
        assert random_state() == before
        raise KeyError


def test_the_callers_numbers_go_on_as_before_also_after_an_exception():
    """And inside one another."""
    before = random_state()
    with pytest.raises(KeyError):
        draw_and_fail()
    assert random_state() == before


def test_generators_of_other_devices_are_not_seeded(monkeypatch):
    """torch.manual_seed would reseed every CUDA device of the caller's, and leave it so."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    with fixed_randomness(0):
        drawn()
    assert seeded == []
