"""What is on a machine: one module a role, written as pyinfra deploys.

Imported only by the engine's worker process (pyinfra brings gevent); `job` and `templates` are
free of both and may be imported by the engine.
"""
