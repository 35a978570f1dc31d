"""The lab: a cloud on this computer, for rehearsals. A daemon of its own that rents machines
(systemd-nspawn) in private namespaces; `wizard.providers.local` is its client.

Must not import: answers, plan, engine, tui, any provider module.
"""
