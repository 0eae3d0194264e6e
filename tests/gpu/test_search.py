"""A whole search on a GPU."""

import pytest

from lrsearch.service.optimize import load_onto_device, prepare
from lrsearch.service.progress import StopReason
from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database
from lrsearch.tasks import load_task
from lrsearch.training.fused.array import FusedArray

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", ["digits-mlp", "mnist-mlp"])
def test_a_search_on_a_gpu_ends_with_its_budget(tmp_path, mnist_dir, name):
    """Every trial ends, trained by the fused array, and the best one has learned something."""
    task = load_task(name, mnist_dir)
    content = {"name": "gpu", "task": name, "trials": 32, "epochs": 4, "run": {"device": "cuda"}}
    spec = resolved(spec_from(content, "test"), task)
    with open_database(f"sqlite:///{tmp_path / 'gpu.db'}") as database:
        data = load_onto_device(spec, task)
        search = prepare(database, spec, task, data, lambda: open_study(database, spec))
        assert isinstance(search._array, FusedArray)
        *_others, last = search.run()
    assert last.stopped is StopReason.BUDGET
    assert last.ended_trials == 32
    assert last.best.result.value < 0.5
