"""Of the harness's own parts that need no proxies: `python3 -m unittest discover -s bench/tests`."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import cases, load, plot, report  # noqa: E402
from harness.process import Failure, Process, core_idle_seconds, cores, run  # noqa: E402
from harness.setup import which  # noqa: E402
from harness.summary import Results, Spread, ratio, spread, verdict  # noqa: E402

WRK = """Running 5s test @ http://127.0.0.1:8080/1k
  1 threads and 200 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    20.33ms    1.83ms  39.79ms   92.23%
  49353 requests in 5.02s, 58.83MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 7
Requests/sec:   9831.01
"""

H2LOAD = """finished in 2.00s, 14336.00 req/s, 14.58MB/s
requests: 28672 total, 28872 started, 28672 done, 28600 succeeded, 72 failed, 2 errored, 0 timeout
status codes: 28600 2xx, 0 3xx, 0 4xx, 70 5xx
"""

REDIS = '''"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"GET","41152.26","0.655","0.168","0.615","0.999","1.343","3.183"
'''


class Parsers(unittest.TestCase):
    def test_wrk(self):
        counted = load.parse_wrk(WRK)
        self.assertEqual((counted.requests, counted.seconds, counted.errors), (49353, 5.02, 17))

    def test_h2load(self):
        counted = load.parse_h2load(H2LOAD)
        self.assertEqual((counted.requests, counted.seconds, counted.errors), (28600, 2.0, 72))

    def test_redis_benchmark_answers_microseconds(self):
        self.assertEqual(load.parse_redis_benchmark(REDIS), (41152.26, 615.0, 1343.0))

    def test_text_that_is_something_else_is_a_failure(self):
        for parse in (load.parse_wrk, load.parse_h2load, load.parse_redis_benchmark):
            with self.assertRaises(Failure):
                parse("unable to connect")

    def test_a_run_with_errors_is_no_measurement(self):
        with self.assertRaisesRegex(Failure, "17 errors"):
            load.checked(load.Counted(1000, 1.0, 17), "wrk")
        load.checked(load.Counted(1000, 1.0, 1), "wrk")


class Summary(unittest.TestCase):
    def test_spread_leaves_failed_repetitions_out(self):
        self.assertEqual(spread([3.0, None, 1.0, 2.0]), Spread(2.0, 1.0, 3.0, 3))
        self.assertIsNone(spread([None]))

    def test_ratios_are_of_the_same_repetition(self):
        # The medians' ratio would be 10 / 10.
        self.assertEqual(ratio([10.0, 40.0, 5.0], [20.0, 10.0, 10.0]), Spread(0.5, 0.5, 4.0, 3))
        self.assertEqual(ratio([10.0, None], [20.0, 10.0]).count, 1)
        self.assertIsNone(ratio([10.0], []))

    def test_verdicts(self):
        less = cases.Goal("envoy", 0.4, 0.25)
        self.assertEqual([verdict(v, less) for v in (0.2, 0.25, 0.4, 0.41)], ["aim", "aim", "required", "missed"])
        more = cases.Goal("envoy", 2.5, 4.0, at_least=True)
        self.assertEqual([verdict(v, more) for v in (4.0, 2.5, 2.4)], ["aim", "required", "missed"])


class Pages(unittest.TestCase):
    def test_the_page_and_the_plot_show_what_failed_too(self):
        case = cases.ALL["saturated"]
        results = Results(["bowline", "envoy"])
        for rate in (20_000.0, 30_000.0):
            results.add(case, "bowline", {"rate": rate, "cpu": 40.0})
            results.add(case, "envoy", {"rate": 10_000.0, "cpu": 160.0})
        results.add(case, "bowline", None)
        results.add(case, "envoy", {"rate": 10_000.0, "cpu": 160.0})
        results.failures.append("saturated, Bowline, repetition 3: broken on purpose")

        class Peer:
            hop = "h2"

            def __init__(self, name, label):
                self.name, self.label = name, label

        peers = [Peer("bowline", "Bowline"), Peer("envoy", "Envoy")]
        page = report.page(
            results, [case], peers, subject="bowline", repetitions=3, quick=False,
            date="today", machine="this one", versions=["1"], plot="x.svg",
        )  # fmt: skip
        self.assertIn("25,000 (20,000–30,000)", page)
        self.assertIn("**2.50×** (2.00–3.00)", page)
        self.assertIn("broken on purpose", page)
        self.assertRegex(page, r"requests/s.*\| ≥ 2.5× \| ≥ 4× \| 2.5× .*\| reached \|")
        self.assertRegex(page, r"pair CPU.*\| ≤ 0.4× \| ≤ 0.25× \| 0.25× .*\| aim reached \|")

        bars = [("bowline", "Bowline", Spread(1.0, 0.5, 2.0, 3)), ("envoy", "Envoy", None)]
        root = ElementTree.fromstring(plot.svg([("a < b", 1, bars)]))
        self.assertIn("not measured", "".join(root.itertext()))

    def test_every_case_has_metrics_with_keys_of_their_own(self):
        for case in cases.ALL.values():
            keys = [metric.key for metric in case.metrics]
            self.assertEqual(len(keys), len(set(keys)), case.name)


class OpenLoop(unittest.TestCase):
    @unittest.skipUnless(which("rustc"), "needs rustc")
    def test_waiting_for_a_stalled_server_counts(self):
        source = Path(__file__).resolve().parent.parent / "load" / "open_loop.rs"
        with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as listener:
            binary = f"{directory}/open-loop"
            run([which("rustc"), "--edition", "2024", "-C", "opt-level=1", "-o", binary, str(source)])

            def serve():
                connection, _ = listener.accept()
                with connection:
                    served = 0
                    while connection.recv(4096):
                        served += 1
                        if served == 50:
                            time.sleep(0.4)  # the stall under test
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

            server = threading.Thread(target=serve, daemon=True)
            server.start()
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            seen = json.loads(run([binary, address, "/", "100", "1", "1"]))
            server.join(10)
        self.assertEqual((seen["requests"], seen["errors"]), (100, 0))
        # 40 of 100 requests were due during the stall, evenly; a closed loop would have seen one.
        self.assertGreater(seen["p90"], 200_000)
        self.assertLess(seen["p50"], 100_000)


class Processes(unittest.TestCase):
    def test_cpu_and_memory_of_children_count_and_all_are_stopped(self):
        script = "sh -c 'i=0; while :; do i=$((i+1)); done' & echo $!; wait"
        with tempfile.TemporaryDirectory() as directory:
            process = Process("spin", ["sh", "-c", script], core=cores()[0], directory=directory)
            try:
                deadline = time.monotonic() + 10
                while process.cpu_seconds() < 0.2:
                    self.assertLess(time.monotonic(), deadline, "the child's time is not counted")
                    time.sleep(0.01)
                self.assertGreater(process.rss_mib(), 0)
                child = int(process.log.read_text())
                self.assertIn(child, process.pids())
            finally:
                process.stop()
            self.assertIn("ended with", process.ended())
            deadline = time.monotonic() + 10
            while _runs(child):
                self.assertLess(time.monotonic(), deadline, "the child is left behind")
                time.sleep(0.01)

    def test_a_core_is_idle_when_nothing_runs_on_it(self):
        core = cores()[0]

        def idle_share():
            before, begin = core_idle_seconds(core), time.monotonic()
            time.sleep(1)
            return (core_idle_seconds(core) - before) / (time.monotonic() - begin)

        # Others may run on it, too.
        quiet = max(idle_share() for _ in range(5))
        with tempfile.TemporaryDirectory() as directory:
            process = Process("spin", ["sh", "-c", "while :; do :; done"], core=core, directory=directory)
            try:
                busy = idle_share()
            finally:
                process.stop()
        self.assertLess(busy, 0.1)
        self.assertGreater(quiet, 0.3)

    def test_a_command_that_hangs_or_fails_is_a_failure(self):
        with self.assertRaisesRegex(Failure, "did not end within"):
            run(["sleep", "60"], timeout=0.1)
        with self.assertRaisesRegex(Failure, "ended with 3: why"):
            run(["sh", "-c", "echo why >&2; exit 3"])

    def test_a_command_has_its_core_and_the_harness_keeps_its_own(self):
        before = os.sched_getaffinity(0)
        for core in cores():
            out = run(["grep", "Cpus_allowed_list", "/proc/self/status"], core=core)
            self.assertEqual(out.split(), ["Cpus_allowed_list:", str(core)])
        self.assertEqual(os.sched_getaffinity(0), before)

    def test_daemons_die_with_a_killed_harness(self):
        program = (
            "import sys, time; sys.path.insert(0, sys.argv[1])\n"
            "from harness.process import Process, cores\n"
            "process = Process('sleep', ['sleep', '60'], core=cores()[0], directory=sys.argv[2])\n"
            "print(process.pid, flush=True); time.sleep(60)"
        )
        with tempfile.TemporaryDirectory() as directory:
            bench = str(Path(__file__).resolve().parent.parent)
            argv = [sys.executable, "-c", program, bench, directory]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as harness:
                pid = int(harness.stdout.readline())
                # Before that it is not tied to the harness yet.
                deadline = time.monotonic() + 10
                while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
                    self.assertLess(time.monotonic(), deadline, "the command is not started")
                    time.sleep(0.001)
                harness.kill()
            deadline = time.monotonic() + 10
            while _runs(pid):
                self.assertLess(time.monotonic(), deadline, "it outlives the harness")
                time.sleep(0.01)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    unittest.main()
