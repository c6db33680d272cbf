#!/usr/bin/env python3
"""Schemathesis over a server's own /openapi.json: every operation, so many examples each, no answer of 500 or above.

    tests/server/schema.py BINARY [EXAMPLES]

Runs by hand: it makes its own virtual environment and takes some minutes.
"""

import os
import subprocess
import sys
from pathlib import Path

from run import BUILT, HERE, environment


def main() -> int:
    binary, examples = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "200"
    python = environment((HERE / "requirements-schema.txt").read_text() + (HERE / "requirements.txt").read_text())
    if sys.executable != str(python):
        return subprocess.run([python, __file__, binary, examples]).returncode
    os.environ["UNDERTONE_BINARY"] = str(Path(binary).resolve())
    import serving

    server = serving.Server("--max-duration-s", "60")
    checks = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"
    command = [python, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--checks", checks,
               "--max-examples", examples, "--seed", "1", "--phases", "examples,coverage,fuzzing"]
    hooks = {"SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    # What schemathesis remembers from run to run lies where it is run.
    status = subprocess.run(command, cwd=BUILT, env={**os.environ, **hooks}).returncode
    assert server.process.poll() is None, server.log()
    return status or server.stop()


if __name__ == "__main__":
    sys.exit(main())
