"""What both front ends know of this computer's network: when to look at it, and how it is."""

from __future__ import annotations

import os

from wizard.errors import NetworkError
from wizard.stick import reach
from wizard.stick.network import Network, Outlook, abandon
from wizard.tui.draft import Draft

LINK = "link"


class Online:
    """Looks once at the network itself, and once at each vendor's API as soon as it is chosen."""

    def __init__(self, network: Network | None = None) -> None:
        self.network = network or Network()
        self._seen: set[str] = set()

    def trouble(self, draft: Draft) -> bool:
        """Say whether the person should see to the network now (slow at the first time)."""
        wanted = {LINK, *_vendors(draft)}
        if wanted <= self._seen:
            return False
        self._seen |= wanted
        return not self.look(draft).well

    def look(self, draft: Draft, *, anew: bool = False) -> Outlook:
        """Return how the network is, and whether chosen clouds can be reached (slow); `anew` as
        in `Network.look`."""
        outlook = self.network.look(anew=anew)
        if not outlook.well:
            return outlook
        try:
            for place in reach.places(_vendors(draft), os.environ):
                reach.check(place, seconds=5)
        except NetworkError as error:
            why = f"{error.what}: {error.why}" if error.why else error.what
            return Outlook(outlook.managed, outlook.devices, outlook.wifi, why, error.cure)
        return outlook

    def abandon(self) -> None:
        """Wait for nothing any more: the wizard is being closed."""
        abandon()


def describe(outlook: Outlook) -> list[str]:
    """Return how the network is, a line each."""
    lines = [
        f"{'Cable' if device.kind == 'ethernet' else device.kind} {device.name}: {device.words}"
        for device in outlook.devices
        if device.kind != "wifi"
    ]
    lines += [
        f"Wi-Fi {device.name}: {device.words}"
        for device in outlook.devices
        if device.kind == "wifi"
    ]
    if outlook.wifi == "blocked":
        lines.append(
            "Wi-Fi is blocked by a switch or key of this computer: use that to unblock it."
        )
    elif outlook.wifi == "off":
        lines.append("Wi-Fi is switched off.")
    elif outlook.managed and not any(device.kind == "wifi" for device in outlook.devices):
        lines.append("No Wi-Fi device was found.")
    if outlook.well:
        lines.append("The network is well.")
    else:
        text = f"{outlook.trouble[0].upper()}{outlook.trouble[1:]}"
        lines.append(f"! {text}. What to do: {outlook.cure}.")
    return lines


def _vendors(draft: Draft) -> list[str]:
    return [str(name) for key in ("provider.name", "dns.provider") if (name := draft.get(key))]
