"""How many cores count: those that the scheduler and the container's quota leave."""

import os

import pytest
import torch

from lrsearch.service.cores import share_of_cores, usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("400000 100000", 4), ("150000 100000", 1), ("50000 100000", 1), ("", 8)],
)
def test_a_containers_quota_counts_in_whole_cores(monkeypatch, tmp_path, quota, cores):
    """At least one, and never more than the process may run on."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert usable_cores(file) == cores
    assert usable_cores(tmp_path / "none") == 8


def test_processes_share_the_cores(monkeypatch):
    """Each computes with its part, at least one thread, and afterwards as before."""
    monkeypatch.setattr("lrsearch.service.cores.usable_cores", lambda: 8)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        for processes, threads in ((3, 2), (8, 1), (20, 1)):
            with share_of_cores(processes):
                assert torch.get_num_threads() == threads
            assert torch.get_num_threads() == 8
    finally:
        torch.set_num_threads(before)
