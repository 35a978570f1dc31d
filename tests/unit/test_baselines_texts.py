"""Names become placeholders and placeholders names, inside of serialised values too."""

from __future__ import annotations

import base64
import shutil
import subprocess

import pytest

from wizard.baselines.cleaning import HOST, MAIL, TITLE
from wizard.baselines.texts import changed, from_placeholders, to_placeholders, without_addresses

HOSTS = ("www.shop.org", "shop.org")


def there(text: str) -> str:
    change = to_placeholders(HOSTS)
    return changed(text, lambda data: change(without_addresses(data)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://www.shop.org/a", f"https://{HOST}/a"),
        ("https:\\/\\/shop.org\\/a", f"https:\\/\\/{HOST}\\/a"),
        ("?u=https%3A%2F%2Fwww.shop.org", f"?u=https%3A%2F%2F{HOST}"),
        ("WWW.Shop.Org", HOST),
        ("not-www.shop.org shop.organic shop.org.uk", "not-www.shop.org shop.organic shop.org.uk"),
        ("Write to info@shop.org.", f"Write to {MAIL}."),
        ("mailto:jo%40mail.net?x", f"mailto:{MAIL}?x"),
        ("logo@2x.png, jo@example.org", "logo@2x.png, jo@example.org"),
        ('s:12:"www.shop.org";', f's:{len(HOST)}:"{HOST}";'),
        ("a:1:{i:0;s:8:\"shop.org\";}", f'a:1:{{i:0;s:{len(HOST)}:"{HOST}";}}'),
        ('O:1:"A":1:{s:4:"\0*\0u";s:9:"ü.shop.o";}', 'O:1:"A":1:{s:4:"\0*\0u";s:9:"ü.shop.o";}'),
        # only looks serialised: it is text
        ('a:1:{i:0;s:9:"shop.org";}', f'a:1:{{i:0;s:9:"{HOST}";}}'),
        ("a:1:{ shop.org", f"a:1:{{ {HOST}"),
    ],
)  # fmt: skip
def test_names_and_addresses_become_placeholders(text: str, wanted: str) -> None:
    assert there(text) == wanted


def test_values_within_values_come_back_as_they_were() -> None:
    inner = 'a:2:{s:1:"u";s:23:"https://www.shop.org/ü/";s:1:"t";b:1;}'
    outer = f'a:2:{{s:4:"deep";s:{len(inner.encode())}:"{inner}";s:1:"d";d:1.5E+25;}}'
    moved = there(outer)
    assert HOST in moved
    back = changed(moved, from_placeholders("www.shop.org", "me@shop.org", "T"))
    assert back == outer
    if shutil.which("php"):
        subprocess.run(["php", "-r", "exit(unserialize($argv[1]) ? 0 : 1);", moved], check=True)


def test_values_that_are_packed_stay_so() -> None:
    def packed(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    block = 'O:8:"stdClass":1:{s:4:"text";s:%d:"by %s";}'
    found = packed(block % (16, "jo@mail.net x"))
    moved = packed(block % (len(MAIL) + 5, f"{MAIL} x"))
    assert there(found) == moved
    assert changed(moved, from_placeholders("h", "jo@mail.net")) == found
    # nothing in it, and a word that looks like one
    for text in (packed(block % (5, "me")), "Tzoo", "czochralski"):
        assert there(text) == text


def test_what_is_built_to_exhaust_is_text() -> None:
    deep = "a:1:{i:0;" * 5000 + f's:3:"{HOST}"'
    assert changed(deep, from_placeholders("x.org", "y")) == deep.replace(HOST, "x.org")


def test_the_title_may_be_of_any_length() -> None:
    text = f's:{len(TITLE)}:"{TITLE}";'
    assert changed(text, from_placeholders("h", "m", "Über")) == 's:5:"Über";'
