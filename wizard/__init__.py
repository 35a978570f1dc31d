"""Build USB: deploys websites to cloud machines, guided or replayed."""

__version__ = "0.1.0"
