"""What of a Drupal site is private: what is left out of its baselines.

Tables and columns as Drupal 10.3 to 11.3 have them (entity types and hook_schema in its source)."""

# ruff: noqa: S608 - conditions of our own

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wizard.baselines.cleaning import MARKS, TITLE, Cleaning, Rows

_NODES = "(SELECT nid FROM {prefix}node)"


@dataclass(frozen=True)
class _Entity:
    """A type of content: the names of its tables, of its keys, and of what says who wrote it."""

    name: str
    base: str
    data: str
    id: str
    revision: str
    published: str = "status"
    owner: str = ""
    reviser: str = "revision_user"
    log: str = "revision_log_message"

    @property
    def revisions(self) -> tuple[str, str]:
        """Return its tables of revisions."""
        begin = self.name if self.base == f"{self.name}_data" else self.base
        return f"{begin}_revision", f"{begin}_field_revision"

    @property
    def fields(self) -> tuple[str, str, str]:
        """Return patterns of its fields' tables: of the live revision, and of all (long names have
        a hash)."""
        return f"{self.name}__*", f"{self.name}_revision__*", f"{self.name}_r__*"

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.base, self.data, *self.revisions, *self.fields)

    def deleted(self) -> Iterator[Rows]:
        """Yield what goes when of `base` and `data` all is gone that nobody may see: what is no
        translation of the rest, revisions but the live one, and what fields held of them."""
        key, live = self.id, self.revision
        base, data = f"{{prefix}}{self.base}", f"{{prefix}}{self.data}"
        yield Rows(self.data, f"NOT {self.published} <=> 1")
        yield Rows(self.base, f"{key} NOT IN (SELECT {key} FROM {data} WHERE default_langcode = 1)")
        yield Rows(self.data, f"{key} NOT IN (SELECT {key} FROM {base})")
        revision, its_data = self.revisions
        yield Rows(revision, f"{live} NOT IN (SELECT {live} FROM {base})")
        seen = f"NOT IN (SELECT {live}, langcode FROM {data})"
        yield Rows(its_data, f"({live}, langcode) {seen}")
        for table in self.fields:
            yield Rows(table, f"deleted = 1 OR (revision_id, langcode) {seen}")

    def changed(self) -> Iterator[Rows]:
        """Yield what makes the first account the author of all."""
        yield Rows(self.revisions[0], values=((self.reviser, "1"), (self.log, "NULL")))
        if self.owner:
            for table in (self.data, self.revisions[1]):
                yield Rows(table, values=((self.owner, "1"),))


_NODE = _Entity(
    "node",
    "node",
    "node_field_data",
    "nid",
    "vid",
    owner="uid",
    reviser="revision_uid",
    log="revision_log",
)
_TERM = _Entity(
    "taxonomy_term", "taxonomy_term_data", "taxonomy_term_field_data", "tid", "revision_id"
)
_MEDIA = _Entity("media", "media", "media_field_data", "mid", "vid", owner="uid")
_BLOCK = _Entity(
    "block_content",
    "block_content",
    "block_content_field_data",
    "id",
    "revision_id",
    log="revision_log",
)
_LINK = _Entity(
    "menu_link_content",
    "menu_link_content",
    "menu_link_content_data",
    "id",
    "revision_id",
    published="enabled",
)
_ENTITIES = (_NODE, _TERM, _MEDIA, _BLOCK, _LINK)


def _leads_to(column: str, path: str, key: str, table: str) -> str:
    """Return whether a column names by its path something of `table` that is not taken."""
    number = f"CAST(SUBSTRING_INDEX({column}, '/', -1) AS UNSIGNED)"
    taken = f"(SELECT {key} FROM {{prefix}}{table})"
    return f"{column} REGEXP '^{path}/[0-9]+$' AND {number} NOT IN {taken}"


# Settings are PHP's serialised values: pairs of a key and a value, one after the other, and what
# closes an array between them. Pairs are passed over one by one: a text like a key is none.
_ENDS = '(?=[}]*(?:s:[0-9]+:"|i:-?[0-9]+;|$))'
_TEXT = f's:[0-9]+:".*?";{_ENDS}'
_KEY = '(?:s:[0-9]+:"[^"]*"|i:-?[0-9]+);'
_PAIR = f"{_KEY}(?:a:[0-9]+:[{{]|[bid]:[^;]+;|N;|{_TEXT})"
_BEGINS = "^a:[0-9]+:[{]"
_WHOLE = f"(?s){_BEGINS}(?:[}}]|{_PAIR})*+$"
_PRIVATE = (
    '(?:[^"]*(?:(?:api|access|auth|private)[_-]?key|key_value|secret|token|passw|licen[cs]e|'
    'credential|dsn)[^"]*|pass)'
)


def _with(key: str, text: str) -> str:
    """Return settings with another text wherever the key (a pattern) has one."""
    named = f's:[0-9]+:"{key}";'
    others = f"(?:{_BEGINS}|[}}]|(?!{named}s:[1-9]){_PAIR})*+"
    found = rf"(?is)\\G({others})({named}){_TEXT}"
    return rf"REGEXP_REPLACE(data, '{found}', '\\1\\2s:{len(text)}:\"{text}\";')"


CLEANING = Cleaning(
    rows=(
        *(table for entity in _ENTITIES for table in entity.tables),
        "comment",
        "comment_entity_statistics",
        "comment_field_data",
        "comment__*",
        "config",
        "file_managed",
        "file_usage",
        "inline_block_usage",
        "key_value",
        "locales_location",
        "locales_source",
        "locales_target",
        "menu_tree",
        "node_access",
        "path_alias",
        "path_alias_revision",
        "taxonomy_index",
        "users",
        "users_field_data",
    ),
    engines=("mariadb",),
    version="php -r 'require \"/srv/site/current/core/lib/Drupal.php\"; echo Drupal::VERSION;'",
    deleted=(
        # those that a module shows to some
        Rows(
            "node",
            "nid IN (SELECT nid FROM {prefix}node_access) AND nid NOT IN "
            "(SELECT nid FROM {prefix}node_access WHERE realm = 'all' AND grant_view = 1)",
        ),
        *_NODE.deleted(),
        # of a page's own blocks those of a page that is taken
        Rows(
            "block_content_field_data",
            "reusable = 0 AND id NOT IN (SELECT block_content_id FROM {prefix}inline_block_usage "
            "WHERE layout_entity_type = 'entity_view_display' OR layout_entity_type = 'node' "
            f"AND layout_entity_id IN {_NODES})",
        ),
        # a name in a menu tells of what is not taken
        Rows("menu_link_content_data", _leads_to("link__uri", "entity:node", "nid", "node")),
        Rows("menu_link_content_data", _leads_to("link__uri", "internal:/node", "nid", "node")),
        Rows("menu_link_content_data", "link__uri REGEXP '^(entity:|internal:/)user/[0-9]'"),
        *(rows for entity in _ENTITIES[1:] for rows in entity.deleted()),
        Rows(
            "menu_tree",
            "provider = 'menu_link_content' AND SUBSTRING_INDEX(id, ':', -1) NOT IN "
            "(SELECT uuid FROM {prefix}menu_link_content)",
        ),
        Rows("node_access", f"realm <> 'all' OR nid <> 0 AND nid NOT IN {_NODES}"),
        Rows(
            "taxonomy_index",
            f"nid NOT IN {_NODES} OR tid NOT IN (SELECT tid FROM {{prefix}}taxonomy_term_data)",
        ),
        Rows(
            "inline_block_usage", "block_content_id NOT IN (SELECT id FROM {prefix}block_content)"
        ),
        # so does an address
        Rows("path_alias", "status <> 1 OR path LIKE '/user/%'"),
        Rows("path_alias", _leads_to("path", "/node", "nid", "node")),
        Rows("path_alias", _leads_to("path", "/taxonomy/term", "tid", "taxonomy_term_data")),
        Rows("path_alias", _leads_to("path", "/media", "mid", "media")),
        Rows(
            "path_alias_revision",
            "revision_id NOT IN (SELECT revision_id FROM {prefix}path_alias)",
        ),
        Rows("comment_field_data", "status <> 1 OR entity_type <> 'node'"),
        Rows("comment_field_data", f"entity_id NOT IN {_NODES}"),
        Rows("comment", "cid NOT IN (SELECT cid FROM {prefix}comment_field_data)"),
        Rows("comment__*", "entity_id NOT IN (SELECT cid FROM {prefix}comment_field_data)"),
        Rows("comment_entity_statistics", f"entity_type <> 'node' OR entity_id NOT IN {_NODES}"),
        # people's pictures are no part of a site
        Rows(
            "file_managed",
            "status <> 1 OR uri NOT LIKE 'public://%' OR uri LIKE 'public://pictures/%'",
        ),
        Rows(
            "file_usage",
            "fid NOT IN (SELECT fid FROM {prefix}file_managed) OR type = 'user' "
            f"OR type = 'node' AND id NOT IN {_NODES}",
        ),
        # all but who is not logged in
        Rows("users", "uid <> 0"),
        Rows("users_field_data", "uid <> 0"),
        # what modules remember is theirs to find again
        Rows(
            "key_value",
            "collection NOT IN ('core.equivalent_updates', 'entity.definitions.bundle_field_map', "
            "'entity.definitions.installed', 'entity.storage_schema.sql', 'post_update', "
            "'system.schema') AND collection NOT LIKE 'config.entity.key_store.%' AND NOT "
            "(collection = 'state' AND name IN ('build_usb_release', "
            "'comment.maintain_entity_statistics', 'install_task', 'install_time'))",
        ),
        # nobody knows what secrets are in what cannot be read
        Rows("config", f"data NOT REGEXP '{_WHOLE}'"),
    ),
    changed=(
        *(rows for entity in _ENTITIES for rows in entity.changed()),
        Rows(
            "comment_field_data",
            values=(
                ("uid", "0"),
                ("name", "''"),
                ("mail", "''"),
                ("homepage", "''"),
                ("hostname", "''"),
            ),
        ),
        Rows(
            "comment_entity_statistics",
            values=(("last_comment_name", "''"), ("last_comment_uid", "0")),
        ),
        Rows("file_managed", values=(("uid", "1"),)),
        Rows("config", values=(("data", _with(_PRIVATE, "")),)),
        Rows("config", "name = 'system.site'", (("data", _with("name", TITLE)),)),
    ),
    left_out=(
        *MARKS,
        "private/*",
        "configuration/*",
        "sites/default/files/pictures/*",
        # made again when they are asked for
        "sites/default/files/css/*",
        "sites/default/files/js/*",
        "sites/default/files/php/*",
        "sites/default/files/styles/*",
        "sites/default/files/config_*",
        "sites/default/files/translations/*",
        "sites/default/files/backup_migrate/*",
        "sites/default/files/webform/*",
        "*.htaccess",
    ),
)
