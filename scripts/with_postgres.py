"""Runs a command beside a PostgreSQL server of its own: python3 with_postgres.py COMMAND...

The server is new and empty, sorts by bytes, listens on this machine with a random port, password and certificate, and
ends with the command. In the command's environment: CAIRN_TEST_POSTGRES, its address without a database (the role may
make some), CAIRN_TEST_POSTGRES_CA, the certificate, and psql in PATH.
"""

import glob
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def binaries() -> Path:
    """Where initdb and postgres are: in PATH, or where Debian puts them, newest first."""
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).resolve().parent
    versions = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[4]))
    if not versions:
        sys.exit("there is no PostgreSQL server; install it: apt-get install postgresql")
    return Path(versions[-1])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main() -> int:
    bin = binaries()
    # The server refuses to run as root.
    user = None
    if os.geteuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    as_user = dict(user=user.pw_uid, group=user.pw_gid, extra_groups=[]) if user else {}
    with tempfile.TemporaryDirectory(prefix="cairn-postgres-") as scratch:
        data, log = Path(scratch, "data"), Path(scratch, "log")
        password, port = secrets.token_hex(16), free_port()
        word, certificate = Path(scratch, "password"), Path(scratch, "server.crt")
        word.write_text(password)
        key = Path(scratch, "server.key")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
            + ["-subj", "/CN=cairn-test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
            + ["-addext", "basicConstraints=critical,CA:FALSE"]
            + ["-keyout", str(key), "-out", str(certificate)],
            check=True,
            capture_output=True,
        )
        key.chmod(0o600)
        if user:
            for path in [Path(scratch), word, key, certificate]:
                os.chown(path, user.pw_uid, user.pw_gid)
        os.chmod(scratch, 0o755)
        initdb = [bin / "initdb", "-D", data, "-U", "cairn", "--locale=C", "--encoding=UTF8"]
        initdb += ["--auth=scram-sha-256", f"--pwfile={word}", "--no-sync"]
        subprocess.run([str(part) for part in initdb], check=True, stdout=subprocess.DEVNULL, cwd=scratch, **as_user)
        # A test's data need not outlive the machine; the gateway's own crashes are another matter.
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": 400,
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "ssl": "on",
            "ssl_cert_file": certificate,
            "ssl_key_file": key,
        }
        command = [str(bin / "postgres"), "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(log, "wb") as output:
            server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=scratch, start_new_session=True, **as_user
            )
        try:
            ready = [str(bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
            end = time.monotonic() + 60
            while subprocess.run(ready).returncode != 0:
                if server.poll() is not None or time.monotonic() > end:
                    sys.exit("PostgreSQL did not start:\n" + log.read_text())
                time.sleep(0.1)
            environment = {
                **os.environ,
                "CAIRN_TEST_POSTGRES": f"postgres://cairn:{password}@127.0.0.1:{port}",
                "CAIRN_TEST_POSTGRES_CA": str(certificate),
                "PATH": f"{os.environ['PATH']}:{bin}",
            }
            return subprocess.run(sys.argv[1:], env=environment).returncode
        finally:
            server.send_signal(2)  # SIGINT: at once, without waiting for clients
            server.wait()


sys.exit(main())
