"""Clusters to run clients against: three nodes of Balsa, or three of Apache Kafka, on free ports of this machine.

Both kinds have `bootstrap`, `pids`, `kill(node_id)` (kill -9; the node is started again by itself) and `stop()`. Nothing here knows
what a client does. A cluster that does not become ready in time is stopped and an error raised.
"""

import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20


def free_ports(count, first=None):
    """The first of `count` free ports in a row. Below the range that the system gives to clients' sockets."""
    candidates = [first] if first else [random.randrange(12_000, 31_000) for _ in range(200)]
    for port in candidates:
        sockets = []
        try:
            for offset in range(count):
                listener = socket.socket()
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sockets.append(listener)
                listener.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
        finally:
            for listener in sockets:
                listener.close()
    raise RuntimeError(f"no {count} free ports in a row")


def cpu_seconds(pid):
    """What a process has used of the processors so far, user and system."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Balsa:
    """`balsa dev`, which starts a node again that has ended."""

    name = "balsa"

    def __init__(self, binary, directory, nodes=3, first_port=None, settings=()):
        directory = os.path.abspath(directory)
        os.makedirs(directory, exist_ok=True)
        port = free_ports(30, first_port)
        self.log_path = os.path.join(directory, "balsa.log")
        command = [os.path.abspath(binary), "dev", "-o", "json", "--nodes", str(nodes), "--data-dir", os.path.join(directory, "data")]
        command += ["--http-port", str(port), "--peer-port", str(port + 10), "--kafka-port", str(port + 20)]
        for setting in settings:
            command += ["--set", setting]
        # Each BALSA_… is a setting to it; what whoever runs this has set is not meant for these nodes.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BALSA_")}
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=directory, env=environment, start_new_session=True)
        self.events = queue.Queue()
        self.pids = {}
        threading.Thread(target=self._follow, daemon=True).start()
        try:
            ready = self.events.get(timeout=READY_SECONDS_MAX)
        except queue.Empty:
            self.stop()
            raise RuntimeError(f"balsa is not ready after {READY_SECONDS_MAX} s; see {self.log_path}") from None
        if ready is None:
            raise RuntimeError(f"balsa ended: {open(self.log_path).read()[-2000:]}")
        self.pids = {node["node_id"]: node["pid"] for node in ready["nodes"]}
        self.bootstrap = ",".join(node["kafka"] for node in ready["nodes"])
        self.http = [node["url"] for node in ready["nodes"]]

    def _follow(self):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "node_started":
                self.pids[event["node_id"]] = event["pid"]
            self.events.put(event)
        self.events.put(None)

    def kill(self, node_id):
        os.kill(self.pids[node_id], signal.SIGKILL)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Kafka:
    """Apache Kafka: each node is broker and controller (KRaft)."""

    name = "kafka"

    def __init__(self, jars, directory, nodes=3, first_port=None, settings=(), heap="1g"):
        directory = os.path.abspath(directory)
        os.makedirs(directory, exist_ok=True)
        self.directory = directory
        self.java = ["java", f"-Xmx{heap}", f"-Xms{heap}", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Djava.awt.headless=true"]
        self.java += ["-cp", os.path.join(os.path.abspath(jars), "*")]
        port = free_ports(20, first_port)
        voters = ",".join(f"{node}@127.0.0.1:{port + 10 + node}" for node in range(1, nodes + 1))
        copies = min(nodes, 3)
        self.configs, self.processes, self.pids, self.stopping = {}, {}, {}, False
        for node in range(1, nodes + 1):
            lines = [
                "process.roles=broker,controller", f"node.id={node}", f"controller.quorum.voters={voters}",
                f"listeners=PLAINTEXT://127.0.0.1:{port + node},CONTROLLER://127.0.0.1:{port + 10 + node}",
                f"advertised.listeners=PLAINTEXT://127.0.0.1:{port + node}", "controller.listener.names=CONTROLLER",
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                f"log.dirs={directory}/node-{node}", f"offsets.topic.replication.factor={copies}", "offsets.topic.num.partitions=16",
                f"transaction.state.log.replication.factor={copies}", f"transaction.state.log.min.isr={min(copies, 2)}",
                f"default.replication.factor={copies}", f"min.insync.replicas={min(copies, 2)}", "group.initial.rebalance.delay.ms=0", *settings,
            ]
            self.configs[node] = os.path.join(directory, f"node-{node}.properties")
            with open(self.configs[node], "w") as config:
                config.write("\n".join(lines) + "\n")
        cluster_id = "MkU3OEVBNTcwNTJENDM2Qk"
        formats = [subprocess.Popen([*self.java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", config],
                                    stdout=subprocess.DEVNULL, stderr=open(config + ".format", "w")) for config in self.configs.values()]
        if any(process.wait(READY_SECONDS_MAX) for process in formats):
            raise RuntimeError(f"Kafka cannot format {directory}")
        self.bootstrap = ",".join(f"127.0.0.1:{port + node}" for node in self.configs)
        self.ports = {node: port + node for node in self.configs}
        for node in self.configs:
            self._start(node)
        threading.Thread(target=self._restart, daemon=True).start()
        self.wait_ready()

    def _start(self, node):
        log = open(os.path.join(self.directory, f"node-{node}.log"), "ab")
        self.processes[node] = subprocess.Popen([*self.java, "kafka.Kafka", self.configs[node]], stdout=log, stderr=log, cwd=self.directory,
                                                start_new_session=True)
        self.pids[node] = self.processes[node].pid

    def _restart(self):
        while not self.stopping:
            for node, process in list(self.processes.items()):
                if process.poll() is not None and not self.stopping:
                    self._start(node)
            time.sleep(0.1)

    def wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS_MAX
        for port in self.ports.values():
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        self.stop()
                        raise RuntimeError(f"Kafka is not ready; see {self.directory}") from None
                    time.sleep(0.2)

    def kill(self, node_id):
        os.kill(self.pids[node_id], signal.SIGKILL)

    def stop(self):
        self.stopping = True
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Control:
    """Lets a suite kill a node: a line `kill NODE_ID` on this port is answered by `ok` once the process got its signal."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            connection, _ = self.listener.accept()
            with connection, connection.makefile("rw") as lines:
                try:
                    word, node_id = lines.readline().split()
                    if word != "kill":
                        raise ValueError(word)
                    self.cluster.kill(int(node_id))
                    lines.write("ok\n")
                except (ValueError, KeyError, OSError) as error:
                    lines.write(f"error {error!r}\n")


def remove(directory):
    shutil.rmtree(directory, ignore_errors=True)
