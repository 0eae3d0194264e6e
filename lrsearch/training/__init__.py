"""Training: arrays of trials on one device. It knows neither SQL nor Optuna."""
