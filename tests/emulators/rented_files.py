"""The server behind an emulated EFS: NFS 4.1 out of memory, and TLS in front of it."""

from __future__ import annotations

from typing import Any

from tests.emulators.authority import Authority
from tests.emulators.rented_server import RentedServer

# their own services want rpcbind and more, and do not begin
_SETUP = """
cd /etc
(umask 077; cat > files.pem)
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
if ! command -v ganesha.nfsd >/dev/null; then
  apt-get -qq update
  apt-get -qq install --no-install-recommends nfs-ganesha nfs-ganesha-mem stunnel4 >&2
fi
mkdir -p /srv/export /var/lib/nfs/ganesha
cat > nfs.conf <<EOF
NFS_CORE_PARAM {
  NFS_Protocols = 4; NFS_Port = 12049; Bind_addr = 127.0.0.1; allow_set_io_flusher_fail = true;
  Enable_NLM = false; Enable_RQUOTA = false;
}
MEM { Inode_Size = 65536; }
NFSv4 { Graceless = true; Minor_Versions = 1; Only_Numeric_Owners = true; }
EXPORT {
  Export_Id = 1; Path = "/srv/export"; Pseudo = "/"; Protocols = 4; Transports = TCP;
  Access_Type = RW; Squash = None; SecType = sys; FSAL { Name = MEM; }
}
EOF
cat > tls.conf <<EOF
foreground = yes
pid =
syslog = no
[nfs]
accept = 2049
connect = 127.0.0.1:12049
cert = /etc/files.pem
EOF
systemd-run --quiet --unit=files ganesha.nfsd -F -f /etc/nfs.conf -L STDERR -p /run/nfs.pid
systemd-run --quiet --unit=tls stunnel4 /etc/tls.conf
timeout 60 sh -c "until ss -Hltn | grep ':12049 '; do sleep 0.2; done"
"""


class RentedFiles(RentedServer):
    """It proves to be `host`, whatever address it is reached at, to who trusts the authority."""

    def __init__(self, laboratory: Any, authority: Authority, host: str) -> None:
        super().__init__(laboratory, "files")
        self._identity = "".join(authority.sign(host))
        self.begin()

    def set_up(self) -> None:
        self.enter("sh", "-ec", _SETUP, stdin=self._identity)
