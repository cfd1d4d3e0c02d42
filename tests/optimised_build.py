"""The programs of an optimised build, for tests and benchmarks that run them from outside."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def program(folder, name, variable):
    """The executable FOLDER/NAME, built now (ENCORE_BUILD_DIR names another configured build) unless the environment
    variable names one."""
    if os.environ.get(variable):
        return Path(os.environ[variable])
    build = Path(os.environ.get("ENCORE_BUILD_DIR", ROOT / ".build" / "release"))
    if not (build / "CMakeCache.txt").exists():
        subprocess.run(
            ["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"], check=True, stdout=sys.stderr
        )
    jobs = os.environ.get("ENCORE_BUILD_JOBS", str(os.cpu_count() or 1))
    subprocess.run(["cmake", "--build", build, "--target", name, "-j", jobs], check=True, stdout=sys.stderr)
    return build / folder / name
