"""What of a Moodle site is private: what is left out of its baselines, which are courses as
templates.

Tables and columns as Moodle 4.5 has them, and the `qbank` of 5.0 (db/install.xml in its source)."""

# ruff: noqa: S608 - conditions of our own

from __future__ import annotations

from wizard.baselines.cleaning import MARKS, TITLE, Cleaning, Rows

ADMINISTRATOR = "2"
"""The administrator's number, as Moodle's installation gives it: moodle/prepare.php.j2 makes it."""

_ACTIVITIES = (
    "assign", "book", "choice", "data", "feedback", "folder", "forum", "glossary", "h5pactivity",
    "imscp", "label", "lesson", "page", "qbank", "quiz", "resource", "scorm", "subsection", "url",
    "wiki", "workshop",
)  # fmt: skip
_OF_ACTIVITIES = (
    "assign_plugin_config", "book_chapters", "choice_options", "data_fields", "feedback_item",
    "feedback_template", "glossary_categories", "glossary_formats", "lesson_answers",
    "lesson_pages", "quiz_feedback", "quiz_grade_items", "quiz_reports", "quiz_sections",
    "quiz_slots", "scorm_scoes", "scorm_scoes_data", "scorm_seq_*", "workshopeval_best_settings",
    "workshopform_*",
)  # fmt: skip
_OF_QUESTIONS = {
    "question": (
        "question_answers", "question_calculated", "question_calculated_options",
        "question_datasets", "question_multianswer", "question_numerical",
        "question_numerical_options", "question_numerical_units", "question_truefalse",
    ),
    "questionid": (
        "qtype_ddimageortext", "qtype_ddimageortext_drags", "qtype_ddimageortext_drops",
        "qtype_ddmarker", "qtype_ddmarker_drags", "qtype_ddmarker_drops", "qtype_essay_options",
        "qtype_match_options", "qtype_match_subquestions", "qtype_multichoice_options",
        "qtype_ordering_options", "qtype_randomsamatch_options", "qtype_shortanswer_options",
        "question_ddwtos", "question_gapselect", "question_hints",
    ),
}  # fmt: skip
_COURSES = (
    "block", "block_instances", "block_positions", "course", "course_categories",
    "course_completion_aggr_methd", "course_completion_criteria", "course_completion_defaults",
    "course_format_options", "course_modules", "course_sections", "customfield_*", "enrol",
    "event", "files", "grade_categories", "grade_items", "grade_letters", "grade_outcomes",
    "grade_outcomes_courses", "grade_settings", "grading_areas", "grading_definitions",
    "gradingform_guide_comments", "gradingform_guide_criteria", "gradingform_rubric_criteria",
    "gradingform_rubric_levels", "modules", "question", "question_bank_entries",
    "question_categories", "question_dataset_definitions", "question_dataset_items",
    "question_references", "question_set_references", "question_versions", "scale", "tag",
    "tag_area", "tag_coll", "tag_instance",
)  # fmt: skip
_SITE = (
    "badge_external_backpack", "capabilities", "config", "config_plugins", "context",
    "external_functions", "external_services", "external_services_functions", "filter_active",
    "filter_config", "license", "log_display", "message_processors", "message_providers",
    "messageinbound_handlers", "mnet_application", "mnet_host", "mnet_rpc", "mnet_service",
    "mnet_service2rpc", "my_pages", "repository", "repository_instances", "role", "role_allow_*",
    "role_capabilities", "role_context_levels", "role_names", "task_scheduled",
    "tool_brickfield_checks", "tool_usertours_steps", "tool_usertours_tours", "user",
    "user_info_category", "user_info_field",
)  # fmt: skip
# those whose settings hold nothing but texts and numbers
_BLOCKS = (
    "accessreview", "activity_modules", "activity_results", "admin_bookmarks", "badges",
    "blog_menu", "blog_recent", "blog_tags", "calendar_month", "calendar_upcoming", "comments",
    "completionstatus", "course_list", "course_summary", "feedback", "globalsearch",
    "glossary_random", "html", "login", "lp", "mentees", "myoverview", "myprofile", "navigation",
    "news_items", "online_users", "private_files", "recent_activity", "recentlyaccessedcourses",
    "recentlyaccesseditems", "search_forums", "section_links", "selfcompletion", "settings",
    "site_main_menu", "social_activities", "starredcourses", "tags", "timeline",
)  # fmt: skip
_AREAS = {
    "block_html": ("content",),
    "core_admin": ("favicon", "logo", "logocompact"),
    "course": ("overviewfiles", "section", "summary"),
    "coursecat": ("description",),
    "grading": ("description",),
    "mod_assign": ("activityattachment", "introattachment"),
    "mod_book": ("chapter",),
    "mod_feedback": ("item", "page_after_submit", "template"),
    "mod_folder": ("content",),
    "mod_h5pactivity": ("package",),
    "mod_imscp": ("content",),
    "mod_lesson": ("mediafile", "page_answers", "page_contents", "page_responses"),
    "mod_page": ("content",),
    "mod_quiz": ("feedback",),
    "mod_resource": ("content",),
    "mod_scorm": ("content", "package"),
    "mod_workshop": ("conclusion", "instructauthors", "instructreviewers"),
    "qtype_ddimageortext": ("bgimage", "dragimage"),
    "qtype_ddmarker": ("bgimage",),
    "qtype_essay": ("graderinfo",),
    "qtype_match": ("subquestion",),
    "question": (
        "answer", "answerfeedback", "correctfeedback", "generalfeedback", "hint",
        "incorrectfeedback", "partiallycorrectfeedback", "questiontext",
    ),
    "tool_usertours": ("stepcontent",),
}  # fmt: skip


def _texts(*texts: str) -> str:
    return "(" + ", ".join(f"'{text}'" for text in texts) + ")"


def _ids(table: str, where: str = "1 = 1", column: str = "id") -> str:
    return f"(SELECT {column} FROM {{prefix}}{table} WHERE {where})"


def _gone(table: str, column: str, of: str, where: str = "") -> Rows:
    """Return the rows of a table whose column names a row of another one that is not there."""
    return Rows(table, f"{column} NOT IN {_ids(of)}{where and f' AND {where}'}")


_CONTEXTS = tuple(
    _gone(table, column, "context")
    for table, column in (
        ("block_positions", "contextid"),
        ("customfield_data", "contextid"),
        ("files", "contextid"),
        ("filter_active", "contextid"),
        ("filter_config", "contextid"),
        ("grade_letters", "contextid"),
        ("grading_areas", "contextid"),
        ("question_categories", "contextid"),
        ("question_references", "usingcontextid"),
        ("question_set_references", "usingcontextid"),
        ("role_capabilities", "contextid"),
        ("role_names", "contextid"),
        ("tag_instance", "contextid"),
    )
)
_QUESTIONS = (
    _gone("question_bank_entries", "questioncategoryid", "question_categories"),
    _gone("question_versions", "questionbankentryid", "question_bank_entries"),
    Rows("question", f"id NOT IN {_ids('question_versions', column='questionid')}"),
    *(
        _gone(table, column, "question")
        for column, tables in _OF_QUESTIONS.items()
        for table in tables
    ),
    _gone("question_references", "questionbankentryid", "question_bank_entries"),
)
_TAKEN_FILES = " OR ".join(
    (
        "component REGEXP '^mod_' AND filearea = 'intro'",
        "component REGEXP '^theme_'",
        *(
            f"component = '{component}' AND filearea IN {_texts(*areas)}"
            for component, areas in _AREAS.items()
        ),
    )
)
# settings by their names; a number under a name like tokenduration is none
_PRIVATE = (
    "value NOT IN ('', '0', '1') AND (name REGEXP 'pass$|passw(or)?d$|secret|_pw$' "
    "OR name REGEXP 'pass|token|key|salt|credential|dsn|webhook' AND value NOT REGEXP '^[0-9]*$')"
)
_OWNERS = {
    "createdby": ("question",),
    "modifiedby": ("question",),
    "ownerid": ("question_bank_entries",),
    "usercreated": ("grading_definitions",),
    "userid": ("event", "files", "scale", "tag"),
    "usermodified": ("grade_outcomes", "grading_definitions"),
}
"""Columns that say whose something is."""

CLEANING = Cleaning(
    rows=(
        *_ACTIVITIES,
        *_OF_ACTIVITIES,
        *(table for tables in _OF_QUESTIONS.values() for table in tables),
        *_COURSES,
        *_SITE,
    ),
    engines=("mariadb",),
    version=r"""sed -n "s/^\$release *= *'\([0-9.]*\).*/\1/p" /srv/site/current/version.php""",
    addressed=("files", "contenthash"),
    deleted=(
        Rows("user", "username <> 'guest'"),
        Rows("my_pages", "userid IS NOT NULL"),
        Rows(
            "course_modules",
            "deletioninprogress <> 0 OR module NOT IN "
            + _ids("modules", f"name IN {_texts(*_ACTIVITIES)}"),
        ),
        Rows("block_instances", f"blockname NOT IN {_texts(*_BLOCKS)}"),
        # where something is: a person, an activity, a block
        _gone("context", "instanceid", "user", "contextlevel = 30"),
        _gone("context", "instanceid", "course_modules", "contextlevel = 70"),
        _gone("block_instances", "parentcontextid", "context"),
        _gone("context", "instanceid", "block_instances", "contextlevel = 80"),
        *_CONTEXTS,
        _gone("block_positions", "blockinstanceid", "block_instances"),
        *_QUESTIONS,
        Rows("customfield_category", "component <> 'core_course' OR area <> 'course'"),
        _gone("customfield_field", "categoryid", "customfield_category"),
        _gone("customfield_data", "fieldid", "customfield_field"),
        _gone("course_completion_criteria", "moduleinstance", "course_modules", "module <> ''"),
        Rows("grade_items", f"itemtype = 'mod' AND itemmodule NOT IN {_texts(*_ACTIVITIES)}"),
        Rows("enrol", "enrol NOT IN ('guest', 'manual', 'self')"),
        # what activities have put into the calendar, but for exceptions that were made for somebody
        Rows(
            "event",
            f"modulename NOT IN {_texts(*_ACTIVITIES)} OR courseid = 0 OR groupid <> 0 "
            "OR priority IS NOT NULL OR eventtype IN ('group', 'user')",
        ),
        Rows("tag_instance", "itemtype NOT IN ('course', 'course_modules', 'question')"),
        Rows("tag", f"isstandard = 0 AND id NOT IN {_ids('tag_instance', column='tagid')}"),
        Rows("files", f"referencefileid IS NOT NULL OR NOT ({_TAKEN_FILES})"),
        # those that need no account elsewhere
        Rows(
            "repository",
            "type NOT IN ('areafiles', 'contentbank', 'coursefiles', 'local', 'recent', 'upload', "
            "'url', 'user', 'wikimedia')",
        ),
        _gone("repository_instances", "typeid", "repository"),
        Rows("repository_instances", "userid <> 0"),
        Rows("external_services", "COALESCE(component, '') = ''"),
        _gone("external_services_functions", "externalserviceid", "external_services"),
        Rows(
            "mnet_host",
            "id NOT IN "
            + _ids("config", "name IN ('mnet_localhost_id', 'mnet_all_hosts_id')", "value"),
        ),
        Rows("config", "name IN ('build_usb_content', 'siteidentifier')"),
        # how people are known to other services, and what a site has said of itself
        Rows(
            "config_plugins",
            "name <> 'version' AND plugin REGEXP "
            "'^(auth_|enrol_(database|fee|flatfile|imsenterprise|ldap|lti|mnet|paypal)$|hub$|mnet$)'",
        ),
    ),
    changed=(
        Rows(
            "course", "format = 'site'", (("fullname", f"'{TITLE}'"), ("shortname", f"'{TITLE}'"))
        ),
        Rows("config", "name = 'siteadmins'", (("value", f"'{ADMINISTRATOR}'"),)),
        Rows(
            "config",
            "name REGEXP '^(smtp(hosts|user)$|proxy|messageinbound_)' OR name IN "
            "('allowedip', 'auth', 'blockedip', 'courserequestnotify', 'noreplyaddress', "
            "'notifyloginfailures', 'registerauth', 'supportname')",
            (("value", "''"),),
        ),
        *(
            Rows(table, _PRIVATE, (("value", "''"),))
            for table in ("config", "config_plugins", "filter_config", "assign_plugin_config")
        ),
        Rows("user", values=(("password", "''"), ("secret", "''"), ("lastip", "''"))),
        *(
            Rows(table, values=((column, ADMINISTRATOR),))
            for column, tables in _OWNERS.items()
            for table in tables
        ),
        Rows("role_capabilities", values=(("modifierid", "0"),)),
        Rows("tag_instance", values=(("tiuserid", "0"),)),
        Rows("files", values=(("source", "NULL"), ("author", "NULL"))),
        # groups are people's
        Rows("course", values=(("defaultgroupingid", "0"),)),
        Rows("course_modules", values=(("groupingid", "0"),)),
        # what was closed by a word is closed without it; in this order, by what was
        Rows(
            "enrol",
            values=(
                ("status", "IF(COALESCE(password, '') = '', status, 1)"),
                ("password", "NULL"),
                # the cohort that it was for
                ("customint5", "IF(enrol = 'self', 0, customint5)"),
            ),
        ),
        Rows("quiz", values=(("password", "''"), ("subnet", "''"))),
        Rows("lesson", values=(("usepassword", "0"), ("password", "''"))),
        # its one discussion is not there
        Rows("forum", "type = 'single'", (("type", "'general'"),)),
        Rows("workshop", values=(("phase", "10"),)),
        Rows("grade_items", values=(("locked", "0"), ("locktime", "0"), ("needsupdate", "1"))),
        Rows("repository_instances", values=(("username", "NULL"), ("password", "NULL"))),
        Rows("badge_external_backpack", values=(("oauth2_issuerid", "NULL"),)),
        Rows("mnet_host", values=(("public_key", "''"), ("ip_address", "''"))),
        Rows(
            "task_scheduled",
            values=(("timestarted", "NULL"), ("hostname", "NULL"), ("pid", "NULL")),
        ),
    ),
    left_out=(*MARKS, "moodledata/trashdir/*"),
)
