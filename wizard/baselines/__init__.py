"""Baselines: cleaned, shareable copies of an application. So far: what must not be in one."""
