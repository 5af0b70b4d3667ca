"""One libtorrent session for a benchmark: reads a call a line from stdin, answers a line each on stdout, as JSON."""

import base64
import json
import os
import sys
import time

import libtorrent as lt

PIECE_BYTES = 0  # chosen by libtorrent
LOOK_EVERY_S = 0.01


def open_session():
    return lt.session(
        {
            "listen_interfaces": "127.0.0.1:0",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            # Its own transport over UDP is far slower on loopback.
            "enable_outgoing_utp": False,
            "enable_incoming_utp": False,
            "allow_multiple_connections_per_ip": True,
            "alert_mask": 0,
        }
    )


class Peer:
    def __init__(self):
        self.session = open_session()
        self.handle = None

    def seed(self, folder, name, bytes_per_second):
        storage = lt.file_storage()
        lt.add_files(storage, os.path.join(folder, name))
        torrent = lt.create_torrent(storage, PIECE_BYTES)
        lt.set_piece_hashes(torrent, folder)
        encoded = lt.bencode(torrent.generate())
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(lt.bdecode(encoded))
        params.save_path = folder
        params.flags |= lt.torrent_flags.seed_mode
        self.handle = self.session.add_torrent(params)
        if bytes_per_second > 0:
            # Peers on this machine are free of the session's own limit.
            self.handle.set_upload_limit(bytes_per_second)
        return {"torrent": base64.b64encode(encoded).decode(), "port": self.session.listen_port()}

    def prepare(self, folder, torrent):
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(lt.bdecode(base64.b64decode(torrent)))
        params.save_path = folder
        params.flags &= ~lt.torrent_flags.auto_managed
        params.flags |= lt.torrent_flags.paused
        self.handle = self.session.add_torrent(params)
        return {"port": self.session.listen_port()}

    def take(self, folder, ports):
        start = time.monotonic()
        self.handle.resume()
        for port in ports:
            self.handle.connect_peer(("127.0.0.1", port))
        while not self.handle.status().is_seeding:
            time.sleep(LOOK_EVERY_S)
        self.handle.flush_cache()
        storage = self.handle.torrent_file().files()
        for index in range(storage.num_files()):
            with open(os.path.join(folder, storage.file_path(index)), "rb+") as file:
                os.fsync(file.fileno())
        return {"seconds": time.monotonic() - start}

    def sent(self):
        return {"bytes": self.handle.status().all_time_upload}


peer = Peer()
for line in sys.stdin:
    call = json.loads(line)
    answer = getattr(peer, call["method"])(*call["arguments"])
    print(json.dumps(answer), flush=True)
