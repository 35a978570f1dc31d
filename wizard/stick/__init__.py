"""What the stick does to itself: its encrypted volume, its settings, its network, its copies.

`__main__` is the helper that runs as root; `client` is how the wizard, which does not, calls it.
"""
