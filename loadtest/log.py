"""Writes the tables of the example log_speed into a report. Usage: log.py PROGRAM DIRECTORY REPORT"""

import os
import subprocess
import sys

program, directory, report = sys.argv[1:]
tables = subprocess.run([program, directory], check=True, capture_output=True, text=True).stdout
tables = tables.replace(directory, "a directory on the local disk")
with open(report, "w", encoding="utf-8") as file:
    file.write(f"""# How fast is the log?

Written by `./loadtest/run log` ({os.cpu_count()} cores, local disk). An append is acknowledged when its tiles and a signed checkpoint over
it are flushed to the disk. `interval` is how long the log gathers entries before it writes: 0 ms is Cairn's setting (an idle log
takes an entry at once, a busy one whatever came meanwhile); 200 ms is what public logs use. `guard` is the second copy of the
checkpoint (`log.guard`).

{tables}
For orientation, what Tessera publishes of itself (docs/performance.md of transparency-dev/tessera, read in 2026), on other machines
and so not to be compared line by line: POSIX storage on mirrored SAS disks and 12 cores about 2,900 writes a second with 3,000 writers,
of which the average waits 6 s to be integrated; on a 2-core e2-micro more than 1,500 a second.
""")
