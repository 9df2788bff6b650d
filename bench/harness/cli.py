"""The command line of `bench/run`."""

import argparse
import contextlib
import datetime
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

from . import cases, certificates, peers, plot, report, setup
from .process import Failure, cores
from .summary import Results
from .topology import Layout, Topology, free_ports, validate

RESULTS = Path(__file__).resolve().parent.parent / "results"


def say(text):
    """Progress, on standard error."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Bench:
    """What a case gets: the way to a running topology, and how long to take."""

    def __init__(self, directory, certs, scale):
        self.scale = scale
        # Of the last window; None while nothing was measured.
        self.usage = None
        self._directory = directory
        self._certificates = certs

    @contextlib.contextmanager
    def topology(self, peer, *, access_log=False, start=("inbound", "outbound")):
        """A fresh one in a directory of its own, both gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self._directory) as directory:
            layout = Layout(Path(directory), free_ports(), self._certificates, access_log)
            with Topology(peer, layout, start=start) as topology:
                yield topology

    @contextlib.contextmanager
    def measured(self, topology):
        """`Topology.measured`, and its Usage is kept for the page."""
        with topology.measured() as usage:
            yield usage
        self.usage = usage


def main(arguments):
    """Returns the exit status: 0 if everything asked for was measured, 1 if something was not, 2 for bad usage."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _run(options)
    except Failure as error:
        say(error)
        return 1
    except KeyboardInterrupt:
        say("interrupted; nothing is left running")
        return 130


def _parse(arguments):
    default_cases = [name for name, case in cases.ALL.items() if case.default]
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Compares Bowline's two-hop path with that of Envoy, HAProxy and nginx on this machine.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="cases:\n"
        + "\n".join(f"  {name:18} {'' if case.default else '(on request) '}{case.about}" for name, case in cases.ALL.items()),
    )
    parser.add_argument("--peers", type=_names(peers.ALL), default=list(peers.ALL), help=f"of {','.join(peers.ALL)}")
    parser.add_argument("--cases", type=_names(cases.ALL), default=default_cases, help="names from below, or all")
    parser.add_argument("-n", "--repetitions", type=int, help="interleaved repetitions (5; with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="short measurements, to see that all works")
    parser.add_argument("--subject", choices=list(peers.ALL), default="bowline", help="whose ratios are given")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of the results (bench/results)")
    parser.add_argument("--no-install", action="store_true", help="use only what is there")
    parser.add_argument("--install-only", action="store_true", help="install what is missing and end")
    options = parser.parse_args(arguments)
    options.repetitions = options.repetitions or (2 if options.quick else 5)
    if not 1 <= options.repetitions <= 100:
        parser.error("--repetitions: 1 to 100 are allowed")
    return options


def _names(known):
    def parse(text):
        if text == "all":
            return list(known)
        wanted = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in wanted if name not in known]
        if unknown or not wanted:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: known are {', '.join(known)}")
        return [name for name in known if name in wanted]

    return parse


def _run(options):
    load_core, _ = cores()  # fails early where there is only one
    if not options.no_install:
        setup.install(peers=options.peers, say=say)
    if options.install_only:
        return 0
    for command in ("openssl", "nginx"):
        if setup.which(command) is None:
            raise Failure(f"{command} is needed for any comparison, and is not installed")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Some cases make their load in this process.
    os.sched_setaffinity(0, {load_core})

    present, skipped = [], []
    for name in options.peers:
        peer = peers.ALL[name]
        why = peer.missing()
        if why is None:
            present.append(peer)
        else:
            skipped.append(f"{peer.label}: {why}")
            say(f"skipping {skipped[-1]}")
    if not present:
        raise Failure("no peer is left to measure")
    chosen = [cases.ALL[name] for name in options.cases]
    with tempfile.TemporaryDirectory(prefix="bowline-bench-") as directory:
        results = _measure(options, present, chosen, Path(directory), skipped)
    _write(options, results, present, chosen)
    return 1 if results.failures else 0


def _measure(options, present, chosen, directory, skipped):
    certs = certificates.make(directory)
    bench = Bench(directory, certs, cases.QUICK if options.quick else cases.FULL)
    results = Results([peer.name for peer in present])
    results.failures += skipped
    for peer in list(present):
        try:
            with bench.topology(peer) as topology:
                validate(topology)
            say(f"{peer.label}: carries all bodies, admits the right identity only")
        except (Failure, OSError) as error:
            results.failures.append(f"{peer.label}: not measured, for its path is not right: {error}")
            say(results.failures[-1])
            present.remove(peer)
    if not present:
        raise Failure("no peer works")
    steps = options.repetitions * len(chosen) * len(present)
    step, begin = 0, time.monotonic()
    for repetition in range(1, options.repetitions + 1):
        for case in chosen:
            for peer in present:
                step += 1
                measured = _one(bench, results, case, peer, repetition)
                results.add(case, peer.name, measured)
                left = (time.monotonic() - begin) / step * (steps - step)
                say(f"[{step}/{steps}, {left:.0f} s left] {case.name} {peer.name}: {_short(case, measured)}")
    return results


def _one(bench, results, case, peer, repetition):
    bench.usage = None
    try:
        measured = case.measure(bench, peer)
    except (Failure, OSError) as error:
        results.failures.append(f"{case.name}, {peer.label}, repetition {repetition}: {error}")
        return None
    if bench.usage is not None:
        results.disturbances.append((case.name, peer.name, repetition, bench.usage.disturbance))
        if case.saturates and bench.usage.busy < report.SATURATED:
            results.held_back.append((case.name, peer.name, repetition, bench.usage.busy))
    return measured


def _short(case, measured):
    if measured is None:
        return "failed"
    return ", ".join(f"{m.key} {report.number(measured[m.key], m.digits)} {m.unit}" for m in case.metrics)


def _write(options, results, present, chosen):
    date = datetime.datetime.now(datetime.UTC)
    stem = date.strftime("%Y-%m-%dT%H%MZ")
    options.output.mkdir(parents=True, exist_ok=True)
    versions = [peer.version() for peer in present]
    panels = [
        (
            f"{metric.title}, {metric.unit} ({'more' if metric.higher_is_better else 'less'} is better)",
            metric.digits,
            [(peer.name, peer.label, results.spread(case, metric, peer.name)) for peer in present],
        )
        for case in chosen
        for metric in case.metrics
    ]
    page = report.page(
        results,
        chosen,
        present,
        subject=options.subject,
        repetitions=options.repetitions,
        quick=options.quick,
        date=date.strftime("%Y-%m-%d %H:%M UTC"),
        machine=machine_line(),
        versions=versions,
        plot=f"{stem}.svg",
    )
    (options.output / f"{stem}.svg").write_text(plot.svg(panels))
    (options.output / f"{stem}.json").write_text(
        json.dumps({"date": date.isoformat(), "machine": machine_line(), "versions": versions, **results.as_json()})
    )
    (options.output / f"{stem}.md").write_text(page)
    (options.output / "latest.md").write_text(page)
    print(page)
    say(f"written: {options.output / stem}.md, .svg, .json and latest.md")


def machine_line():
    """What the numbers depend on besides the programs."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load_core, proxy_core = cores()
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}; "
        f"proxies on core {proxy_core}, load and origin on core {load_core}{_polling()}"
    )


def _polling():
    """Whether idle cores of this virtual machine wait awake: the fixed rate's times hang on it."""
    with contextlib.suppress(OSError, ValueError):
        nanoseconds = int(Path("/sys/module/haltpoll/parameters/guest_halt_poll_ns").read_text())
        if nanoseconds > 0:
            return f"; idle cores wait awake for {nanoseconds / 1e3:,.0f} µs before they halt"
    return ""
