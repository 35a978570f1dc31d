"""The answers: all that the user decides, one versioned YAML document. Pure; never holds a secret.

    model.py        the document, built of sections.py, built of fields.py
    consistency.py  what must fit together between sections
    support.py      what is right but not possible in this version
    loader.py       YAML file <-> answers, every problem at once; document.py reads the YAML itself
    migrations.py   older versions of the document
    keys.py         one key path: what it means, what it allows, whether a value fits
    schema.py       JSON Schema for editors; reference.py the same for people

Import what you need from these modules; importing this package loads nothing.
"""

RELEASED = ("moodle", "drupal", "joomla")
"""Applications that come as their project's release."""

MOVES = ("wordpress", "moodle", "joomla")
"""The applications in whose databases the names that a restore point answered to become the new
deployment's; of others nobody but the application knows what in a text is an address."""
