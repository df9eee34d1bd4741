"""Runs a command beside an S3-compatible server (moto) that has one empty bucket, `cairn`: python with_s3.py COMMAND...

The server's address is in the command's environment as CAIRN_TEST_S3. It ends with the command.
"""

import os
import subprocess
import sys
import urllib.request

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
try:
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/cairn", method="PUT"))
    sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, "CAIRN_TEST_S3": endpoint}).returncode)
finally:
    server.stop()
