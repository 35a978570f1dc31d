"""What is private is said as data, and becomes SQL for a copy of the database."""

from __future__ import annotations

from wizard.applications import application
from wizard.applications.wordpress_private import CLEANING
from wizard.baselines.cleaning import Cleaning, Rows, statements


def test_only_rows_of_named_tables_stay_and_what_is_not_the_applications_goes() -> None:
    cleaning = Cleaning(
        rows=("post*",),
        emptied=("postbox",),
        version="true",
        deleted=(Rows("posts", "owner NOT IN (SELECT id FROM {prefix}users)"), Rows("gone")),
        changed=(Rows("posts", values=(("owner", "1"),)),),
    )
    made = statements(cleaning, ["a_posts", "a_postbox", "a_users", "a_orders", "other"], "a_")
    assert made[2:] == [
        "DROP TABLE `other`",
        "TRUNCATE TABLE `a_postbox`",
        "TRUNCATE TABLE `a_users`",
        "TRUNCATE TABLE `a_orders`",
        "DELETE FROM `a_posts` WHERE owner NOT IN (SELECT id FROM a_users)",
        "UPDATE `a_posts` SET `owner` = 1 WHERE 1",
    ]
    kept = statements(cleaning, ["a_orders"], "a_", ["orders"])
    assert "TRUNCATE TABLE `a_orders`" not in kept


def test_accounts_orders_and_what_plugins_keep_are_no_part_of_a_wordpress_baseline() -> None:
    for table in ("users", "usermeta", "commentmeta", "wc_orders", "wc_customer_lookup", "wflogins",
                  "actionscheduler_logs", "woocommerce_sessions", "e_submissions"):  # fmt: skip
        assert not CLEANING.takes_rows(table)
    assert CLEANING.takes_rows("posts")
    for path in ("cache/x.html", "debug.log", "mu-plugins/build-usb.php", "uploads/2026/index.php"):
        assert CLEANING.leaves_out(path)
    assert not CLEANING.leaves_out("uploads/2026/11/film.mp4")


def test_of_own_code_no_rows_are_taken_that_were_not_asked_for() -> None:
    cleaning = application("php").cleaning
    assert cleaning is not None
    made = statements(cleaning, ["page", "page_text", "user"], "", ["page*"])
    assert made[2:] == ["TRUNCATE TABLE `user`"]
    assert cleaning.leaves_out("public/files/.whole-kept")
    assert application("static").cleaning is None
