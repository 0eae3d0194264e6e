"""The search: Optuna's studies over spaces of schedules, with samplers and pruners that Optuna lacks."""
