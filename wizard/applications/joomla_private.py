"""What of a Joomla site is private: what is left out of its baselines.

Tables and columns as Joomla 5 and 6 have them (installation/sql/mysql of its source)."""

from __future__ import annotations

from wizard.baselines.cleaning import MARKS, Cleaning, Rows

_CONTENT = "(SELECT id FROM {prefix}content)"
_FIELDS = "(SELECT id FROM {prefix}fields)"
# view levels of the installation: everybody, and guests; all else is for some
_OPEN = "access IN (1, 5)"
# settings of extensions, as JSON: keys of services
_KEYS = (
    "(api_?key|app_?(id|secret|key)|secret|private_?key|token|passw(or)?d|licen[cs]e|credentials?)"
)

CLEANING = Cleaning(
    rows=(
        "assets",
        "categories",
        "content",
        "content_frontpage",
        "content_types",
        "contentitem_tag_map",
        "extensions",
        "fields",
        "fields_categories",
        "fields_groups",
        "fields_values",
        "finder_terms_common",
        "finder_types",
        "guidedtours",
        "guidedtour_steps",
        "languages",
        "mail_templates",
        "menu",
        "menu_types",
        "modules",
        "modules_menu",
        "schemas",
        "tags",
        "template_overrides",
        "template_styles",
        "update_sites",
        "update_sites_extensions",
        "usergroups",
        "viewlevels",
        "workflows",
        "workflow_associations",
        "workflow_stages",
        "workflow_transitions",
    ),
    version="php -r 'echo simplexml_load_file("
    '"/srv/site/current/administrator/manifests/files/joomla.xml")->version;\'',
    deleted=(
        Rows("categories", f"alias <> 'root' AND (published <> 1 OR NOT {_OPEN})"),
        # archived articles are public as well
        Rows("content", f"state NOT IN (1, 2) OR NOT {_OPEN}"),
        Rows("content", "publish_up > UTC_TIMESTAMP()"),
        Rows("content", "catid NOT IN (SELECT id FROM {prefix}categories)"),
        Rows("content_frontpage", f"content_id NOT IN {_CONTENT}"),
        Rows(
            "contentitem_tag_map",
            f"type_alias <> 'com_content.article' OR content_item_id NOT IN {_CONTENT}",
        ),
        Rows("fields", f"context <> 'com_content.article' OR state <> 1 OR NOT {_OPEN}"),
        Rows(
            "fields_values",
            f"field_id NOT IN {_FIELDS} OR item_id NOT IN {_CONTENT}",
        ),
        Rows(
            "workflow_associations",
            f"extension <> 'com_content.article' OR item_id NOT IN {_CONTENT}",
        ),
        Rows("menu", "client_id = 0 AND alias <> 'root' AND published <> 1"),
        Rows("modules", "client_id = 0 AND published <> 1"),
        Rows("tags", f"alias <> 'root' AND (published <> 1 OR NOT {_OPEN})"),
    ),
    changed=(
        # nobody: the administrator is made anew, and becomes the author
        Rows(
            "content",
            values=(("created_by", "0"), ("created_by_alias", "''"), ("modified_by", "0")),
        ),
        *(
            Rows(table, values=(("checked_out", "NULL"), ("checked_out_time", "NULL")))
            for table in ("categories", "content", "menu", "modules", "tags")
        ),
        Rows("extensions", f'params REGEXP \'"[^"]*{_KEYS}[^"]*"\'', (("params", "'{}'"),)),
        # what says whose content it is
        Rows("extensions", values=(("custom_data", "''"),)),
        # keys of those who have paid for an extension
        Rows("update_sites", values=(("extra_query", "''"),)),
    ),
    left_out=MARKS,
)
