"""Processes that are killed, and those that they leave behind."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from coursekit import ROOT
from rarft.system.errors import WorkerError
from rarft.system.processes import end_with_parent, worker_pool


def test_a_worker_that_is_killed_is_an_error_and_no_wait_for_ever():
    with pytest.raises(WorkerError, match="a worker process ended"), worker_pool(1) as pool:
        list(pool.map(os.kill, [0], [0]))  # a signal that does nothing: the pool works
        list(pool.map(signal.raise_signal, [signal.SIGKILL]))


def test_an_error_ends_the_jobs_that_are_running_and_drops_the_others():
    begin = time.perf_counter()
    with pytest.raises(ValueError, match="non-negative"), worker_pool(2) as pool:
        jobs = [pool.submit(time.sleep, seconds) for seconds in (600, -1, 600, 600)]
        jobs[1].result()
    assert time.perf_counter() - begin < 60 and all(job.done() for job in jobs)


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import os, sys, time\nfrom rarft.system.processes import worker_pool\n"
        "if __name__ == '__main__':\n"
        "    with worker_pool(2) as pool:\n"
        "        list(pool.map(os.getpid, []))\n"
        "        jobs = [pool.submit(time.sleep, 600) for _ in range(2)]\n"
        "        while not any(job.running() for job in jobs): time.sleep(0.01)\n"
        "        time.sleep(2); print('ready', flush=True); time.sleep(600)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs(children, 10)[1]


def test_only_a_child_can_end_with_its_parent():
    with pytest.raises(RuntimeError, match="not started by multiprocessing"):
        end_with_parent()
