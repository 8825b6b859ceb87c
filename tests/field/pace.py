"""Writes a file to stdout slowly, then waits: a camera that is no faster than the program. `pace.py FILE [BYTES]`."""

import sys
import time

with open(sys.argv[1], "rb") as file:
    data = file.read()
step = int(sys.argv[2]) if len(sys.argv) > 2 else 120
for start in range(0, len(data), step):
    sys.stdout.buffer.write(data[start:start + step])
    sys.stdout.buffer.flush()
    time.sleep(0.008)
time.sleep(30)
