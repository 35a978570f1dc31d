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
    web = [f"web{number}" for number in range(1, min(webservers, 3) + 1)]
    if webservers > 3:
        web[2:] = ["...", f"web{webservers}"]
    rows = [_centred(visitors, _width(web)), _centred("│ https", _width(web), 5)]
    rows += _boxes(web)
    rows.append(_centred("│ TLS", _width(web), 3))
    database = _boxes(["managed db" if managed_database else "db1"])
    rows += [_centred(line, _width(web)) for line in database]
    if not production:
        return "\n".join(rows)
    scalers = _boxes([f"scaler{number}" for number in range(1, min(autoscalers, 2) + 1)])
    side = [""] * len(rows)
    side[2:5] = [f"  {line}" for line in scalers]
    side[3] = side[3].replace("  │", "◀─│", 1)
    side[5] = "   watch, add, replace"
    width = max(len(row) for row in rows)
    return "\n".join(
        f"{row:<{width}} {more}".rstrip() for row, more in zip(rows, side, strict=True)
    )


def _boxes(names: Sequence[str]) -> list[str]:
    """Return boxes side by side: three lines."""
    widths = [max(len(name), 6) for name in names]
    top = "  ".join("┌" + "─" * (width + 2) + "┐" for width in widths)
    middle = "  ".join(f"│ {name:^{width}} │" for name, width in zip(names, widths, strict=True))
    bottom = "  ".join("└" + "─" * (width + 2) + "┘" for width in widths)
    return [top, middle, bottom]


def _width(names: Sequence[str]) -> int:
    return max(len(_boxes(names)[0]), 28)


def _centred(text: str, width: int, shift: int = 0) -> str:
    """Return text in the middle; `shift` columns of it are a remark to the right of it."""
    left = (width - len(text) + shift) // 2
    return " " * max(left, 0) + text
