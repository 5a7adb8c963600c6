#!/usr/bin/env python3
"""Runs the public conformance tool scim2-tester against the real daemon.

usage: scim2_tester_run.py BINARY [--kind generic] [--least 135]

Starts BINARY in a temporary directory, makes a directory and a token with its own commands, runs every check and
prints one line for each that is not plainly successful. Exit 1 when a check failed, when fewer than --least ran, or
when one was skipped for a reason that EXPECTED_SKIPS does not give.
"""

import argparse
import collections
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

# Title of a check that the tool skips by itself -> why that is right for this server.
EXPECTED_SKIPS: dict[str, str] = {}

# An operator's own schema, so that the tool tries one: no dateTime, for which it makes
# up texts that are none, and no list, which it expects `add` to replace once it has added the extension as a whole.
BADGE = {
    "id": "urn:example:params:scim:schemas:Badge:1.0:User",
    "name": "Badge",
    "description": "What a person's badge opens.",
    "attributes": [
        {"name": "number", "type": "integer", "uniqueness": "server"},
        {"name": "colour", "type": "string", "canonicalValues": ["red", "green"]},
        {"name": "valid", "type": "boolean"},
        {
            "name": "holder",
            "type": "complex",
            "subAttributes": [
                {"name": "value", "type": "string", "caseExact": True},
                {"name": "display", "type": "string"},
            ],
        },
    ],
}

FAILED = {Status.ERROR, Status.CRITICAL}


def start(binary: str, folder: pathlib.Path) -> tuple[subprocess.Popen, pathlib.Path]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "rosterd.toml"
    config.write_text(
        f'[server]\nlisten = ["127.0.0.1:{port}"]\n[admin]\nsocket = "{folder}/admin.sock"\n'
        f'[mirror]\npath = "{folder}/mirror.db"\n[log]\nlevel = "warn"\n'
        '[[schema]]\nfile = "badge.json"\n'
    )
    (folder / "badge.json").write_text(json.dumps(BADGE))
    process = subprocess.Popen([binary, "serve", "--config", str(config)])
    for _ in range(400):
        if process.poll() is not None:
            raise SystemExit(f"the daemon ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, config
        time.sleep(0.05)
    process.kill()
    raise SystemExit("the daemon did not listen within 20 s")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--kind", default="generic")
    parser.add_argument("--least", type=int, default=135)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        process, config = start(args.binary, pathlib.Path(folder))
        try:
            command = [args.binary, "directory", "add", "Conformance", "--kind", args.kind, "--json", "--config", str(config)]
            made = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            headers = {"Authorization": f"Bearer {made['token']}"}
            with Client(base_url=made["base_url"], headers=headers) as http:
                results = check_server(SyncSCIMClient(http))
        finally:
            process.terminate()
            process.wait(timeout=30)
    counts = collections.Counter(result.status for result in results)
    unexplained = []
    for result in results:
        if result.status in FAILED or result.status in {Status.DEVIATION, Status.SKIPPED}:
            print(f"{result.status.name} {result.resource_type or ''} {result.title}: {result.reason}")
        if result.status is Status.SKIPPED and result.title not in EXPECTED_SKIPS:
            unexplained.append(result.title)
    failed = sum(counts[status] for status in FAILED)
    ran = len(results) - counts[Status.SKIPPED]
    print(f"scim2-tester: {ran} checks, {failed} failed, {counts[Status.DEVIATION]} deviations, {counts[Status.SKIPPED]} skipped")
    return 1 if failed or unexplained or ran < args.least else 0


if __name__ == "__main__":
    sys.exit(main())
