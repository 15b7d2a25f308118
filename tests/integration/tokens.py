"""Files of bearer tokens."""

import os


def write_tokens(path, text):
    """As docs/security.md asks: aside, and renamed."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(text)
    aside.chmod(0o600)
    os.rename(aside, path)
