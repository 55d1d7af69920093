"""Chapters run at the same time, in an order that suits them, and end together."""

import os
import signal
import subprocess
import sys
import threading
import time

import nbformat
import psutil
import pytest

from coursekit import ROOT
from coursekit.execute import ChapterProcess, run_chapter
from coursekit.schedule import Job, Schedule, run_jobs
from rarft.system.errors import ChapterError

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
COURSE = {
    "00": Job([], 1, 1),
    "01": Job([], 2, 1),
    "09": Job([], 8, 3.5),
    "10": Job(["09"], 1, 1),
    "11": Job(["09"], 3, 2.5),
    "12": Job(["11", "99"], 1, 1),
}


def started(schedule):
    """All jobs that may start now, in order."""
    schedule.newly_ready()
    return list(iter(schedule.start_next, None))


def test_the_job_with_the_longest_chain_behind_it_starts_first():
    schedule = Schedule(COURSE, 2, 100)
    assert schedule.chain == {"00": 1, "01": 2, "09": 12, "10": 1, "11": 4, "12": 1}
    assert started(schedule) == ["09", "01"] and started(schedule) == []
    schedule.done("01")
    assert started(schedule) == ["00"]
    schedule.done("09")
    assert started(schedule) == ["11"]
    schedule.done("00")
    assert started(schedule) == ["10"]
    schedule.done("10")
    assert started(schedule) == [], "12 needs 11; 99 is no job"
    schedule.done("11")
    assert started(schedule) == ["12"] and schedule.is_active()
    schedule.done("12")
    assert not schedule.is_active()


def test_jobs_start_only_where_their_memory_fits_and_one_always_may():
    schedule = Schedule(COURSE, 6, 4.5)
    assert started(schedule) == ["09", "01"], "with 00 it would be 5.5 GB"
    schedule.done("01")
    assert started(schedule) == ["00"]
    schedule.done("00"), schedule.done("09")
    assert started(schedule) == ["11", "10"]
    small = Schedule({"00": Job([], 1, 9), "01": Job([], 1, 0.1)}, 2, 1)
    assert started(small) == ["00"], "too large for the limit, but alone"
    small.done("00")
    assert started(small) == ["01"]


def test_a_smaller_job_goes_first_where_a_larger_one_does_not_fit():
    jobs = {"00": Job([], 5, 2), "01": Job([], 4, 3), "02": Job([], 1, 1)}
    assert started(Schedule(jobs, 3, 4)) == ["00", "02"]


class Fake:
    """A job that ends when it is told to, with an error if it was ended or is broken."""

    def __init__(self, name, broken=False):
        self.name, self.broken, self.ended, self.go = name, broken, False, threading.Event()

    def result(self):
        assert self.go.wait(20)
        if self.broken or self.ended:
            raise ChapterError(f"{self.name} {'broke' if self.broken else 'was ended'}")
        return self.name.upper()

    def end(self):
        self.ended = not self.go.is_set()
        self.go.set()


def build(jobs, at_once, *, kept=(), broken=(), waiting=()):
    """Run fake jobs, each of which ends at once, those of `waiting` only when they are ended. Returns what happened."""
    events, fakes = [], {}

    def start(name):
        events.append(f"start {name}")
        fakes[name] = Fake(name, name in broken)
        if name not in waiting:
            fakes[name].go.set()
        return fakes[name]

    def keep(name):
        events.append(f"keep {name}" if name in kept else f"run {name}")
        return name in kept

    def done(name, result):
        assert result == name.upper()
        events.append(f"done {name}")

    try:
        run_jobs(Schedule(jobs, at_once, 100), keep, start, done)
    except ChapterError as error:
        events.append(str(error))
    return events, fakes


def test_jobs_run_in_order_one_at_a_time():
    events, _ = build(COURSE, 1)
    assert [event for event in events if not event.startswith("run")] == [
        f"{what} {name}" for name in sorted(COURSE) for what in ("start", "done")
    ]
    for name, job in COURSE.items():
        for need in set(job.needs) & set(COURSE):
            assert events.index(f"done {need}") < events.index(f"run {name}"), (
                "what it needs may decide whether it runs"
            )


def test_a_job_that_is_kept_takes_no_place_and_frees_those_that_need_it():
    events, _ = build(COURSE, 1, kept=("00", "01", "09", "11"))
    assert [event for event in events if event[0] in "sd"] == ["start 10", "done 10", "start 12", "done 12"]
    assert build(COURSE, 2, kept=COURSE)[1] == {}


def test_after_a_failure_nothing_starts_and_what_runs_is_ended():
    events, fakes = build(COURSE, 2, broken=("01",), waiting=("09",))
    assert events[-1] == "01 broke" and set(fakes) == {"01", "09"} and fakes["09"].ended


def test_a_job_that_ends_together_with_a_failure_is_kept():
    ran = []

    def start(name):
        fake = Fake(name, broken=name == "00")
        if name == "02":
            time.sleep(0.5)  # 00 and 01 end meanwhile
        else:
            fake.go.set()
        return fake

    with pytest.raises(ChapterError, match="00 broke"):
        run_jobs(
            Schedule({name: Job([], 1, 1) for name in ("00", "01", "02")}, 3, 9),
            lambda name: False,
            start,
            lambda name, _: ran.append(name),
        )
    assert ran == ["01"]


def test_an_interrupt_ends_what_runs():
    fake = Fake("00")

    def interrupted(_):
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        return fake

    with pytest.raises(KeyboardInterrupt):
        run_jobs(Schedule({"00": Job([], 1, 1)}, 2, 9), lambda name: False, interrupted, lambda *_: None)
    assert fake.ended


def chapter(*sources):
    cells = [nbformat.v4.new_code_cell(source) for source in ('SCALE = "full"', *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    return nbformat.v4.new_notebook(cells=cells, metadata=KERNEL)


def test_a_chapter_has_an_environment_and_a_priority_of_its_own(tmp_path):
    said = "import os, psutil\nprint(SCALE, os.environ['OMP_NUM_THREADS'], psutil.Process().nice())"
    both = [
        ChapterProcess(chapter(said), tmp_path / f"{threads}.ipynb", "smoke", threads=threads, low_priority=low)
        for threads, low in ((1, True), (2, False))
    ]
    for running in both:
        assert set(running.result()) == {"minutes", "peak_ram_gb"}
        running.end()
    here = psutil.Process().nice()
    for threads, nice in ((1, max(here, 10)), (2, here)):
        ran = nbformat.read(tmp_path / f"{threads}.ipynb", as_version=4)
        assert ran.cells[-1].outputs[0].text == f"smoke {threads} {nice}\n"


def test_a_chapter_that_fails_names_its_cell_and_one_that_is_killed_says_so(tmp_path):
    def message(*sources):
        running = ChapterProcess(chapter(*sources), tmp_path / "07_x.ipynb", "smoke", threads=1)
        with pytest.raises(ChapterError) as caught:
            running.result()
        return str(caught.value)

    assert message("print(1)", "1 / 0").startswith("07_x.ipynb, cell 4: ZeroDivisionError: division by zero\n")
    assert "status -9" in message("import os\nos.kill(os.getppid(), 9)")


def test_a_chapter_and_its_kernel_end_with_a_build_that_is_killed(tmp_path):
    ready = tmp_path / "ready"
    waits = chapter(f"open({str(ready)!r}, 'w').close()", "import time\ntime.sleep(600)")
    nbformat.write(waits, tmp_path / "source.ipynb")
    code = (
        "import nbformat\nfrom pathlib import Path\nfrom coursekit.execute import ChapterProcess\n"
        "source = nbformat.read('source.ipynb', as_version=4)\n"
        "ChapterProcess(source, Path('made.ipynb').resolve(), 'smoke', threads=1).result()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2, "the chapter and its kernel"
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs(children, 10)[1]


def test_a_kernel_that_does_not_start_is_started_once_more(tmp_path, monkeypatch):
    import papermill

    real, calls = papermill.execute_notebook, []

    def fails_at_first(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return real(*arguments, **options)

    monkeypatch.setattr(papermill, "execute_notebook", fails_at_first)
    assert run_chapter(chapter("1"), tmp_path / "a.ipynb", "smoke")["minutes"] > 0 and len(calls) == 2
