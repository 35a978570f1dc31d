"""The machines of a deployment as a drawing of characters that every console font has. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def picture(
    *,
    production: bool,
    webservers: int = 1,
    autoscalers: int = 0,
    managed_database: bool = False,
    site: str = "",
) -> str:
    """Return the drawing, at most 60 columns wide."""
    visitors = f"visitors of {site}" if site else "visitors"
    web = [f"web{number}" for number in range(1, webservers + 1)]
    if webservers > 3:
        web = ["web1", "...", web[-1]]
    tier, database = _boxes(web), _boxes(["managed db" if managed_database else "db1"])
    width = max(len(visitors), len(tier[0]), len(database[0]))
    rows = [visitors, "│ https", *tier, "│ TLS", *database]
    rows = [_centred(row, width) for row in rows]
    if not production:
        return "\n".join(rows)
    side = [""] * len(rows)
    name = "scaler1" if autoscalers == 1 else f"{autoscalers} scalers"
    for index, line in enumerate(_boxes([name]), start=2):
        side[index] = ("◀─" if index == 3 else "  ") + line
    side[5] = "  watch, add, replace"
    return "\n".join(f"{row:<{width}}{more}".rstrip() for row, more in zip(rows, side, strict=True))


def _boxes(names: Sequence[str]) -> list[str]:
    """Return boxes side by side: three lines."""
    widths = [max(len(name), 6) for name in names]
    pairs = list(zip(names, widths, strict=True))
    return [
        " ".join("┌" + "─" * (width + 2) + "┐" for width in widths),
        " ".join(f"│ {name:^{width}} │" for name, width in pairs),
        " ".join("└" + "─" * (width + 2) + "┘" for width in widths),
    ]


def _centred(text: str, width: int) -> str:
    """Return text in the middle; a remark after `│` does not count."""
    counted = 1 if text.startswith("│ ") and not text.endswith("│") else len(text)
    return " " * ((width - counted) // 2) + text
