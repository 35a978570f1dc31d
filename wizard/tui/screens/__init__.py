"""One screen a step; what is only questions is drawn by `form.py`."""
