"""What of a WordPress site is private: what is left out of its baselines."""

from __future__ import annotations

from wizard.baselines.cleaning import MAIL, TITLE, Cleaning, Rows

_POST = "(SELECT ID FROM {prefix}posts)"
# posts that are somebody's, or of no use elsewhere; of all others what is public is taken
_KINDS = (
    "revision",
    "customize_changeset",
    "oembed_cache",
    "user_request",
    "shop_order",
    "shop_order_placehold",
    "shop_order_refund",
    "shop_subscription",
    "shop_coupon",
    "scheduled-action",
    "flamingo_contact",
    "flamingo_inbound",
    "flamingo_outbound",
    "nf_sub",
    "wpforms_entries",
    "feedback",
    "jetpack_migration",
    "edd_payment",
    "give_payment",
)
_STATES = ("private", "trash", "auto-draft", "draft", "pending", "future")
# settings: keys of services, the site's own keys, what WordPress keeps for a while
_OPTIONS = (
    "^_(site_)?transient_",
    "(^|[_-])(api_?keys?|app_?(id|secret|key)|secret|token|passw(or)?d|licen[cs]e|credentials?)($|[_-])",
    "(^|_)(auth|secure_auth|logged_in|nonce)_(key|salt)$",
    "^(mailserver_|recovery_|session|_wp_session|wp_mail_smtp|jetpack|akismet|wordpress_api_key)",
    "^woocommerce_.*_settings$",
    "^(cron|new_admin_email|build_usb_administrator|can_compress_scripts|user_count)$",
    "^(auto_core_update_notified|https_detection_errors|wp_calendar_block_has_published_posts)$",
)


def _any_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


CLEANING = Cleaning(
    rows=(
        "posts",
        "postmeta",
        "terms",
        "termmeta",
        "term_taxonomy",
        "term_relationships",
        "options",
        "comments",
        "woocommerce_attribute_taxonomies",
        "woocommerce_shipping_zones",
        "woocommerce_shipping_zone_locations",
        "woocommerce_shipping_zone_methods",
        "woocommerce_tax_rates",
        "woocommerce_tax_rate_locations",
        "wc_tax_rate_classes",
        "wc_product_meta_lookup",
        "wc_product_attributes_lookup",
        "wc_category_lookup",
    ),
    version="php -r 'require \"/usr/share/wordpress/wp-includes/version.php\"; echo $wp_version;'",
    deleted=(
        Rows("posts", _any_of("post_type", _KINDS)),
        Rows("posts", _any_of("post_status", _STATES)),
        Rows("posts", "post_password <> ''"),
        # what was uploaded for something that is not taken is still in the folder of uploads
        Rows("postmeta", f"post_id NOT IN {_POST}"),
        Rows(
            "postmeta",
            "meta_key REGEXP '^_(edit_(lock|last)|oembed_|wp_trash_|billing_|shipping_|customer_)'",
        ),
        Rows("term_relationships", f"object_id NOT IN {_POST}"),
        Rows("comments", f"comment_approved <> '1' OR comment_post_ID NOT IN {_POST}"),
        Rows("comments", "comment_type NOT IN ('', 'comment')"),
        *(Rows("options", f"option_name REGEXP '{pattern}'") for pattern in _OPTIONS),
    ),
    changed=(
        # the administrator of a new site is its first account
        Rows("posts", values=(("post_author", "1"),)),
        Rows(
            "comments",
            values=(
                ("comment_author", "''"),
                ("comment_author_email", "''"),
                ("comment_author_url", "''"),
                ("comment_author_IP", "''"),
                ("comment_agent", "''"),
                ("user_id", "0"),
            ),
        ),
        Rows("options", "option_name = 'blogname'", (("option_value", f"'{TITLE}'"),)),
        Rows("options", "option_name = 'admin_email'", (("option_value", f"'{MAIL}'"),)),
    ),
    prefixed=(("options", "option_name"),),
    left_out=(
        "cache/*",
        "upgrade/*",
        "upgrade-temp-backup/*",
        "backups/*",
        "*backup*/*.zip",
        "ai1wm-backups/*",
        "updraft/*",
        "wflogs/*",
        "advanced-cache.php",
        "object-cache.php",
        "db.php",
        # written by each deployment
        "mu-plugins/build-usb.php",
        # keep a browser from listing a folder, which nginx does not
        "uploads/index.php",
        "uploads/*/index.php",
        "*.log",
        "*/error_log",
    ),
)
