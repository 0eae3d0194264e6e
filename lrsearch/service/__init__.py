"""The service: studies that are opened, run by workers and widened."""
