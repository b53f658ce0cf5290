"""``sbatch``, ``srun`` and ``sacct`` of one machine: an array's tasks are processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_SBATCH = """\
import os, re, subprocess, sys
script = sys.argv[1]
text = open(script).read()
last = re.search(r"#SBATCH --array=0-([0-9]+)", text)
number = "4711"
for task in range(int(last[1]) + 1 if last else 1):
    known = {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_NUM_NODES": "1"}
    known |= {"SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here"}
    if last:
        known |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(task)}
    out = open(f"{script}.{task}.out", "w")
    subprocess.Popen(["bash", script], env={**os.environ, **known}, cwd="/", stdout=out, stderr=out, start_new_session=True)
print("Submitted batch job " + number)
"""
_SRUN = """\
import os, sys
command = [a for a in sys.argv[1:]]
while command[0].startswith("-"):
    command = command[2:] if command[0] in ("--output", "--error") else command[1:]
os.execvp(command[0], command)
"""
_SACCT = """\
print("JobID|State|NodeList")
print("4711_0|RUNNING|here")
print("4711_1|RUNNING|here")
"""


def install(folder: Path) -> dict[str, str]:
    """The environment of a process on a login node; tasks begin in ``/``, as workers on another machine may."""
    folder.mkdir()
    for name, code in {"sbatch": _SBATCH, "srun": _SRUN, "sacct": _SACCT}.items():
        file = folder / name
        file.write_text(f"#!{sys.executable}\n{code}")
        file.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
