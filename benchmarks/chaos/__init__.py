"""Runs studies while their workers die, freeze, lose the database or have a wrong clock; looks for damage.

Run it with: python -m benchmarks.chaos --runs 10 --markdown docs/chaos-benchmark.md

The workers are real processes that run the service's own loop on one study, TPE with the median pruner;
only the training is made up: an epoch sleeps, and its loss is a function of the learning rate and the epoch.
They write a checkpoint every 0.3 s. Their leases last 3 s instead of two minutes.

* kill: SIGKILL of a random worker every second. Another one is started in its place.
* restart: PostgreSQL is stopped for 20 s and started again: in the middle of the study, and in every second
  run when no slot is free any more and workers begin to wait for each other.
* cut: every second PostgreSQL ends the connections of all workers.
* freeze: a quarter of the workers are stopped (SIGSTOP) for 1.2 to 2.5 leases, and go on (SIGCONT), again
  and again.
* clock: the wall clock of every third worker is an hour fast, that of another third an hour slow.

Triggers in the database write down, within the same transaction, every change of a slot and every epoch that
is stored: which process wrote it, and which one held the slot. After the run everything is compared.
Violations are: a slot without result or with two, a trial that Optuna still thinks running or whose state,
value or curve it knows otherwise than we do, an epoch missing, double or wrong in a trial that ended, an
epoch or a result that another process wrote than the holder of the slot, a trial taken away from a worker
that was alive, a FAIL without four deaths, a point tried twice, a lease that is not measured by the
database's clock, a worker that ended by an error, workers that never end, and kills that hit nothing.
"""
