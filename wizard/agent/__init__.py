"""The small program on every machine, called by cron each minute.

It keeps the shared configuration mounted, makes ufw equal to the deployment's rules and reports
the machine's health. Standard library only; imports nothing of the rest of `wizard`, because on a
machine there is nothing else: it is shipped alone, as a zipapp. Interface: docs/agent.md.
"""
