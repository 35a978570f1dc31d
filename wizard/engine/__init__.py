"""Makes plans true and takes them away: steps, journal, progress, the worker on machines."""
