"""What is measured of a tunnel: each function takes a lab and options, and returns numbers."""

import json
import re
import subprocess
import time

from .lab import Failed, Meter

BIG, SMALL = 1372, 100
SWEEP_BIG = ("100M", "200M", "400M", "800M", "1600M")
SWEEP_SMALL = ("10M", "20M", "40M", "80M", "160M")


def iperf(lab, seconds, *arguments, port=5201):
    server = lab.spawn("b", "iperf3", "-s", "-1", "-B", lab.tunnel["b"], "-p", port, log="iperf-server.log")
    time.sleep(0.2)
    with Meter(lab) as meter:
        done = subprocess.run(
            lab.command("a", "iperf3", "-c", lab.tunnel["b"], "-p", port, "-t", seconds, "-J",
                        "--connect-timeout", 5000, *arguments),
            capture_output=True, text=True, timeout=seconds + 45, check=False)
    try:
        server.wait(2)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"iperf3: {(done.stderr or done.stdout)[-300:]}") from None
    if "error" in report:
        raise Failed(f"iperf3: {report['error']}")
    return report["end"], meter


def tcp(lab, options, *arguments):
    end, meter = iperf(lab, options.seconds, "-C", "cubic", *arguments)
    received = end["sum_received"]
    gigabytes = received["bytes"] / 1e9
    return {
        "gbps": received["bits_per_second"] / 1e9,
        "retransmits": end["sum_sent"].get("retransmits"),
        "cpu_s_per_gb": meter.used / gigabytes if gigabytes else None,
        "foreign_cores": meter.foreign,
    }


def udp(lab, options, size, rate="0", seconds=None):
    end, meter = iperf(lab, seconds or options.seconds, "-u", "-b", rate, "-l", size)
    received = end["sum_received"]
    packets = received["packets"] - received["lost_packets"]
    seconds = received["seconds"] or options.seconds
    return {
        "gbps": packets * size * 8 / seconds / 1e9,
        "kpps": packets / seconds / 1e3,
        "sent_kpps": end["sum_sent"]["packets"] / seconds / 1e3,
        "cpu_us_per_packet": meter.used / packets * 1e6 if packets else None,
        "foreign_cores": meter.foreign,
    }


def sweep(lab, options, size, rates):
    """Offers ever more; what is received at the generator's maximum, as a part of the peak."""
    seconds = max(1, options.seconds // 2)
    received = {rate: udp(lab, options, size, rate, seconds)["kpps"] for rate in (*rates, "0")}
    peak = max(received.values())
    return {"received_kpps": received, "of_peak": received["0"] / peak if peak else 0}


RTT = re.compile(r"time=([\d.]+) ms")


def ping(lab, count, interval):
    done = subprocess.run(
        lab.command("a", "ping", "-n", "-i", interval, "-c", count, "-W", 2, lab.tunnel["b"]),
        capture_output=True, text=True, timeout=count * interval * 4 + 30, check=False)
    times = sorted(float(ms) * 1000 for ms in RTT.findall(done.stdout))
    if not times:
        raise Failed("ping: no answers")
    at = lambda part: times[min(len(times) - 1, int(part * len(times)))]
    return {"p50_us": at(0.5), "p99_us": at(0.99), "lost": 1 - len(times) / count}


def ping_idle(lab, options):
    with Meter(lab) as meter:
        result = ping(lab, 300 * options.seconds, 0.002)
    return {**result, "foreign_cores": meter.foreign}


def ping_load(lab, options):
    server = lab.spawn("b", "iperf3", "-s", "-1", "-B", lab.tunnel["b"], "-p", 5202, log="load-server.log")
    time.sleep(0.2)
    client = lab.spawn("a", "iperf3", "-c", lab.tunnel["b"], "-p", 5202, "-C", "cubic", "-t",
                       3 * options.seconds + 10, log="load-client.log")
    time.sleep(1)
    with Meter(lab) as meter:
        result = ping(lab, 150 * options.seconds, 0.005)
    loaded = client.poll() is None
    for process in (client, server):
        process.terminate()
        process.wait(5)
    if not loaded:
        raise Failed("the load ended before the ping")
    return {**result, "foreign_cores": meter.foreign}


MEASURES = {
    "tcp_up": lambda lab, o: tcp(lab, o),
    "tcp_down": lambda lab, o: tcp(lab, o, "-R"),
    "tcp_4": lambda lab, o: tcp(lab, o, "-P", 4),
    "tcp_64": lambda lab, o: tcp(lab, o, "-P", 64),
    "udp_1400": lambda lab, o: udp(lab, o, BIG),
    "udp_100": lambda lab, o: udp(lab, o, SMALL),
    "ping_idle": ping_idle,
    "ping_load": ping_load,
    "sweep_1400": lambda lab, o: sweep(lab, o, BIG, SWEEP_BIG),
    "sweep_100": lambda lab, o: sweep(lab, o, SMALL, SWEEP_SMALL),
}
QUICK = ("tcp_up", "tcp_down", "tcp_4", "udp_1400", "udp_100", "ping_idle", "ping_load")
