"""The wizard: a guided, interactive deployment. Only the command line's `wizard` starts it.

    questions.py, conditions.py   what each step asks, and when                  no Textual
    flow.py     the order of the steps                                            no Textual
    draft.py    unfinished answers, saved after every step                        no Textual
    fields.py   what a question is, from the answers model; text <-> value        no Textual
    deployments.py  a home, what runs of it, what is started and asked of it     no Textual
    desk.py     what both front ends work on: that, the draft, the plan           no Textual
    runs.py     the engine as a process of its own, followed by its events        no Textual
    picture.py  machines as a drawing of characters                               no Textual
    plain.py    the same flow as line prompts                                     no Textual
    app.py      the Textual application; looks.py, widgets.py, screens/

Importing this package loads nothing.
"""
