"""Finds the learning rate and the learning-rate schedule that train a PyTorch model best."""

__version__ = "0.1.0"
__all__ = ["__version__"]
