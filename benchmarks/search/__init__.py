"""How long a search takes until a validation loss is first reached, at the end of any epoch of any trial.

Run it with: python -m benchmarks.search --markdown docs/search-benchmark.md

All search the space of `studies/mnist-tpe.toml` (mnist-mlp, SGD with momentum, seven schedule kinds, trials
of up to 10 epochs) on the CPU; models, batch order and schedules are the same, so that only the search and
the speed of training differ. The loss to reach is 2% above the best final one of a random search over 200
trials, which `benchmarks/pruning_curves.json` holds. The clock starts before the first process does.

* optuna as documented: `TPESampler`, the default `MedianPruner`, SQLite, `study.optimize` in one process.
  It is **replayed**: its trials are trained on resident tensors, and in place of the time that this takes
  each epoch is charged what the training loop of a tutorial needs (a DataLoader over images that are
  converted one by one), measured in the same run. Validation and the start of the process are charged
  nothing.
* optuna resident: the same in one process per core that share the study in SQLite, in ordinary PyTorch on
  resident tensors, one thread each. This and all below is wall clock, without any charge.
* ray tune: `ASHAScheduler` (grace period 1, the default reduction factor 4), random points, one core per
  trial, the same training on tensors in Ray's object store, actors reused.
* lrsearch: `lrsearch optimize` with all workers of the machine.

A run that does not reach the loss is stopped at its cap, and counts as the cap.
"""
