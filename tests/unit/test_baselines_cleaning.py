"""What is private is said as data, and becomes SQL for a copy of the database."""

from __future__ import annotations

from wizard.applications import application
from wizard.applications.drupal_private import CLEANING as DRUPAL
from wizard.applications.moodle_private import CLEANING as MOODLE
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


def test_rows_of_all_tables_that_match_and_of_none_where_what_they_ask_for_is_not() -> None:
    cleaning = Cleaning(
        rows=("*",),
        version="true",
        deleted=(Rows("post__*", "id NOT IN (SELECT id FROM {prefix}post)"),),
        changed=(Rows("post", values=(("words", "(SELECT 1 FROM {prefix}gone)"),)),),
    )
    made = statements(cleaning, ["a_post", "a_post__text", "a_post__tags", "a_post_log"], "a_")
    assert made[2:] == [
        "DELETE FROM `a_post__text` WHERE id NOT IN (SELECT id FROM a_post)",
        "DELETE FROM `a_post__tags` WHERE id NOT IN (SELECT id FROM a_post)",
    ]
    assert statements(cleaning, ["a_post__text"], "a_")[2:] == []


def test_accounts_logs_and_what_modules_keep_are_no_part_of_a_drupal_baseline() -> None:
    for table in ("user__roles", "user__user_picture", "users_data", "sessions", "watchdog",
                  "cache_config", "webform_submission", "queue", "key_value_expire", "history",
                  "flood", "field_deleted_data_1a2b3c4d5e"):  # fmt: skip
        assert not DRUPAL.takes_rows(table)
    for table in ("node__body", "node_revision__body", "node_r__1a2b3c4d5e", "media_field_data",
                  "taxonomy_term_data", "taxonomy_term_revision", "menu_link_content_data",
                  "taxonomy_term_field_revision", "menu_link_content_field_revision"):  # fmt: skip
        assert DRUPAL.takes_rows(table)
    for path in ("private/a.txt", "sites/default/files/styles/large/public/a.png",
                 "sites/default/files/.htaccess", "sites/default/files/pictures/a.png",
                 "configuration/system.site.yml"):  # fmt: skip
        assert DRUPAL.leaves_out(path)
    assert not DRUPAL.leaves_out("sites/default/files/2026-11/film.mp4")
    made = statements(DRUPAL, ["node__body", "node_field_data", "node_r__1a2b3c4d5e"], "")
    seen = "(revision_id, langcode) NOT IN (SELECT vid, langcode FROM node_field_data)"
    for table in ("node__body", "node_r__1a2b3c4d5e"):
        assert f"DELETE FROM `{table}` WHERE deleted = 1 OR {seen}" in made


def test_people_and_what_they_did_are_no_part_of_a_moodle_baseline() -> None:
    for table in ("user_enrolments", "role_assignments", "groups", "groups_members", "grade_grades",
                  "grade_items_history", "quiz_attempts", "question_attempt_step_data",
                  "assign_submission", "assign_overrides", "forum_posts", "glossary_entries",
                  "messages", "sessions", "external_tokens", "logstore_standard_log", "config_log",
                  "oauth2_issuer", "user_preferences", "user_info_data", "task_log", "data_content",
                  "backup_controllers", "competency_evidence", "lti_types_config", "scorm_attempt",
                  "local_of_somebody"):  # fmt: skip
        assert not MOODLE.takes_rows(table)
    for table in ("course", "course_sections", "book_chapters", "quiz_slots", "question_answers",
                  "qtype_multichoice_options", "workshopform_rubric_levels", "role_capabilities",
                  "scorm_seq_rulecond", "qbank", "files"):  # fmt: skip
        assert MOODLE.takes_rows(table)
    made = statements(MOODLE, ["a_question_answers", "a_question", "a_user", "a_course"], "a_")
    assert "DELETE FROM `a_user` WHERE username <> 'guest'" in made
    asked = "(SELECT id FROM a_question WHERE 1 = 1)"
    assert f"DELETE FROM `a_question_answers` WHERE question NOT IN {asked}" in made
    assert MOODLE.leaves_out("moodledata/trashdir/ab/cd/abcd")


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
