"""The build home: one folder with a deployment's configuration, keys, state, journal and logs.

Nothing here reads or writes anything outside that folder: no ~/.ssh, no ~/.aws, no ~/.config.
Must not import: engine, providers, dns, storage.
"""

from wizard.home.home import DeploymentHome, Home
from wizard.home.journal import Entry, Journal
from wizard.home.store import SecretStore
from wizard.home.vault import Vault

__all__ = ["DeploymentHome", "Entry", "Home", "Journal", "SecretStore", "Vault"]
