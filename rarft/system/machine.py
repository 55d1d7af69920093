"""A description of the machine, for measurements."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import psutil


def machine() -> str:
    """A short description of this machine, for reports: cores, processor, RAM in GB, GPU."""
    import torch

    about = Path("/proc/cpuinfo")  # on Linux, where `platform` has only the architecture
    named = re.search(r"^model name\s*:\s*(.+)$", about.read_text(), re.MULTILINE) if about.exists() else None
    processor = named[1].strip() if named else platform.processor() or platform.machine()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores of {processor}, {psutil.virtual_memory().total / 1e9:.0f} GB, {gpu}"
