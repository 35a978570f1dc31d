"""Clouds that rent machines: one module each behind one protocol."""
