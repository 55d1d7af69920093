"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil


def machine() -> str:
    """A short description of this machine, for reports: cores, processor, RAM in GB, GPU."""
    import torch

    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
            break
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    ram = psutil.virtual_memory().total / 1e9
    return f"{os.cpu_count()} cores of {processor}, {ram:.0f} GB, {gpu}"
