"""One SQL database for everything that outlives a process: Optuna's tables, and ours beside them."""
