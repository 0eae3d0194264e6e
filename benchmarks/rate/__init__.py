"""Measures how many trials per second workers finish that share a study, Optuna's own workers beside ours.

Run it with: python -m benchmarks.rate --markdown docs/rate-benchmark.md

The study is in PostgreSQL. The trials cost nothing: an objective of one epoch that reports one value. The
space is the same (learning rate, momentum, weight decay, and a choice of two schedules), and the samplers are
a random one and TPE, each one's own. Optuna's workers call `study.optimize` on its `RDBStorage`, one process
each. Ours run the service's loop, with one trial at a time as Optuna has it, or with 16 lanes. All start
together once their study is open, warm up, and are counted for some seconds by what the database then holds.
Each round measures all of them one after the other; a ratio is of one round, and the table has the median of
the rounds. The server runs on the same machine and does not wait for its disk, which favours whoever commits
more often: Optuna.
"""
