"""What is checked of the image and of the instance that it makes, in this order. A check returns what is worth telling."""

import json
import re
import subprocess

from ecsbed import image, tasks
from ecsbed.instance import wait_until
from machine import PATIENCE, Failed
from vpc import PIDS
from workload import CPU, MEMORY_MIB, Workload, same

RESTARTS = 20
SCORE_LIMITS = {"ecs-endpoint": 2.9, "ecs-logd": 2.9, "ecsd": None, "ecs-host": None}
# In the image: an id or a state that all instances would have in common.
ABSENT = ("/var/lib/docker", "/var/lib/containerd", "/etc/docker/key.json", "/var/lib/systemd/random-seed", "/var/lib/cloud",
          "/var/lib/systemd/credential.secret", "/root/.ssh/authorized_keys", "/etc/ssh/ssh_host_rsa_key",
          "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key", "/etc/ecs/ecs.config", "/tmp/packages")
EMPTY_DIRECTORIES = ("/var/lib/ecs/data", "/var/log/ecs")
OUR_FILES = ("*ecsd*", "ecs-endpoint*", "ecs-logd*", "ecs-host*", "ecslogs*", "amazon-ecs-init*", "ecs.service*")


class Guest:
    """What the checks hand on to each other."""

    def __init__(self, vpc, machine, deb):
        self.vpc, self.cp, self.machine, self.deb = vpc, vpc.cp, machine, deb
        self.run = machine.run
        self.workload = None
        self.arn = None
        self.boot = None

    def restarted(self, command, **options):
        """Runs a command that restarts ecsd, and waits until it is connected again, as the instance it was."""
        mark = self.cp.recording.mark()
        output = self.run(command, **options)
        self.connected(mark)
        return output

    def connected(self, since, timeout=PATIENCE):
        registration = self.cp.wait_api("RegisterContainerInstance", timeout, since)["body"]
        expect(registration.get("containerInstanceArn"), self.arn)
        self.cp.wait_acs(timeout, since)


def expect(found, expected):
    if found != expected:
        raise AssertionError(f"{found!r} instead of {expected!r}")


# --- the image and its first boot

def image_has_no_ids(guest):
    """The image has no id, key or state of the machine it was made on."""
    def debugfs(command):
        return subprocess.run(["debugfs", "-R", command, guest.machine.image + "?offset=1048576"], check=True,
                              capture_output=True, text=True).stdout
    there = [path for path in ABSENT if "Inode:" in debugfs(f"stat {path}")]
    expect(there, [])
    expect(re.search(r"Size: (\d+)", debugfs("stat /etc/machine-id")).group(1), "0")
    for path in EMPTY_DIRECTORIES:
        expect([name for name in re.findall(r"/([^/\n]*)/[^/\n]*/\n", debugfs(f"ls -p {path}")) if name not in (".", "..")], [])


def boots(guest):
    """It boots to multi-user, and no unit has failed."""
    guest.machine.start()
    guest.boot = guest.machine.wait_ssh(PATIENCE)
    return settled(guest)


def settled(guest):
    state = guest.run("systemctl is-system-running --wait || systemctl --failed --no-legend --plain", timeout=PATIENCE)
    expect(state.strip(), "running")
    return guest.run("systemd-analyze time | head -n 1").strip().rstrip(".")


def user_data_starts_ecs(guest):
    """`systemctl enable --now --no-block ecs.service` and `systemctl start ecs` in user data return, and cloud-init is done."""
    expect(guest.run("cat /run/user-data-returned").strip(), "active")
    status = guest.run("cloud-init status --long", timeout=60)
    expect(status.split()[1], "done")
    return re.search(r"DataSource\w+", status).group()


def registers(guest):
    """ecsd is active, and registered and connected with what user data has configured."""
    expect(guest.run("systemctl is-active ecsd ecs-endpoint ecs-host").split(), ["active"] * 3)
    registration = guest.cp.wait_api("RegisterContainerInstance", PATIENCE)["body"]
    expect(registration["cluster"], tasks.CLUSTER)
    expect("containerInstanceArn" in registration, False)
    guest.cp.wait_acs(PATIENCE)
    guest.arn = guest.cp.instance_arn
    ours = json.loads(guest.run("python3 -c 'import urllib.request as u; "
                                "print(u.urlopen(\"http://127.0.0.1:51678/v1/metadata\").read().decode())'"))
    expect((ours["Cluster"], ours["ContainerInstanceArn"]), (tasks.CLUSTER, guest.arn))
    return guest.arn


def nothing_pulled(guest):
    """Docker has no image, and keeps containers over its restart; cgroup v2, systemd's driver."""
    expect(guest.run("docker images --quiet"), "")
    expect(guest.run("docker info --format '{{.CgroupDriver}} {{.CgroupVersion}} {{.LiveRestoreEnabled}}'").strip(), "systemd 2 true")
    expect(guest.run("stat --file-system --format %T /sys/fs/cgroup").strip(), "cgroup2fs")


def host_is_set_up(guest):
    """The host's rules and settings are in place."""
    rules = guest.run("iptables-save")
    for part in ("-A PREROUTING -d 169.254.170.2/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 127.0.0.1:51679",
                 "-A OUTPUT -d 169.254.170.2/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 51679"):
        expect(rules.count(part), 1)
    expect(guest.run("sysctl -n net.ipv4.conf.all.route_localnet").strip(), "1")


# --- a task

def task_runs(guest):
    """A task with limits runs."""
    guest.run(f"docker import - {image.NAME}", stdin=image.tar_bytes())
    guest.workload = Workload(guest.vpc, guest.machine).start()
    return guest.workload.arn


def limits(guest):
    """The task's limits are the kernel's, in the files of its cgroup."""
    cgroups = {guest.run(f"cat /proc/{pid}/cgroup").strip() for _, pid, _ in guest.workload.containers().values()}
    slices = {cgroup.removeprefix("0::").rpartition("/")[0] for cgroup in cgroups}
    expect(slices, {f"/ecstasks.slice/ecstasks-{guest.workload.id}.slice"})
    found = guest.run(f"cd /sys/fs/cgroup/{slices.pop()} && cat cpu.max memory.max pids.max").split("\n")[:3]
    expect(found, [f"{int(CPU * 100000)} 100000", str(MEMORY_MIB << 20), str(PIDS)])
    return "cpu.max {}, memory.max {}, pids.max {}".format(*found)


def credentials(guest):
    """A container gets its task's credentials at 169.254.170.2, through Docker's bridge."""
    wait_until(guest.workload.credentials, PATIENCE, "the answer to the first request, in the log", 0.2)
    expect(guest.workload.credentials()["AccessKeyId"], guest.workload.task["roleCredentials"]["accessKeyId"])


def logs(guest):
    """Logs arrive in CloudWatch Logs by way of ecs-logd, signed with the task's execution role."""
    ids = " ".join(container[0] for container in guest.workload.containers().values())
    expect(set(guest.run("docker inspect --format '{{.HostConfig.LogConfig.Type}}' " + ids).split()), {"ecslogs"})
    return guest.workload.check()


def scores(guest):
    """`systemd-analyze security` of the services."""
    found = {}
    for unit, limit in SCORE_LIMITS.items():
        text = guest.run(f"systemd-analyze security --no-pager {unit}.service")
        found[unit] = float(re.search(r"Overall exposure level for .*: ([\d.]+)", text).group(1))
        if limit and found[unit] > limit:
            raise AssertionError(f"{unit}: {found[unit]}, more than {limit}")
    return ", ".join(f"{unit} {score}" for unit, score in found.items())


# --- restarts under load

def restart_ecsd(guest):
    """`systemctl restart ecsd`, 20 times under load: no request for credentials fails, no log line is lost."""
    before = guest.workload.containers()
    for _ in range(RESTARTS):
        guest.restarted("systemctl restart ecsd")
    same(before, guest.workload.containers())
    return guest.workload.check()


def restart_docker(guest):
    """`systemctl restart docker` under load: no request fails, containers run on, all lines that Docker hands on arrive."""
    before = guest.workload.containers()
    guest.run("systemctl restart docker")
    wait_until(lambda: "connected to ECS" in guest.run("systemctl show --property StatusText ecsd"), PATIENCE, "ecsd beside the new Docker", 1)
    same(before, guest.workload.containers())
    lost = guest.workload.count_lost_in_docker()
    return f"{guest.workload.check()}; lines that dockerd had read and took with it: {lost}"


def restart_satellites(guest):
    """`systemctl restart ecs-logd ecs-endpoint` under load: no request fails, no line is lost."""
    before = guest.workload.containers()
    guest.run("systemctl restart ecs-logd ecs-endpoint")
    same(before, guest.workload.containers())
    return guest.workload.check()


def stop_ecs(guest):
    """`systemctl stop ecs` leaves containers running, with their credentials and logs; start takes them back."""
    before = guest.workload.containers()
    guest.run("systemctl stop ecs")
    try:
        expect(guest.run("systemctl is-active ecsd || true").strip(), "inactive")
        same(before, guest.workload.containers())
        detail = guest.workload.check()
    finally:
        guest.restarted("systemctl start ecs")
    same(before, guest.workload.containers())
    return detail


def upgrade(guest):
    """An upgrade of the package restarts the programs and leaves containers running; no request fails, no line is lost."""
    before = guest.workload.containers()
    with open(newer(guest.deb), "rb") as file:
        guest.machine.put("/tmp/newer.deb", file.read())
    guest.restarted("dpkg --install /tmp/newer.deb", timeout=PATIENCE)
    guest.run("rm /tmp/newer.deb")
    expect(guest.run("systemctl is-active ecsd ecs-endpoint ecs-logd ecs-host").split(), ["active"] * 4)
    same(before, guest.workload.containers())
    version = guest.run("dpkg-query --show ecsd").split()[1]
    return f"to {version}: {guest.workload.check()}"


def newer(deb):
    """The same package with a higher version."""
    directory, made = deb + ".newer.d", deb + ".newer"
    subprocess.run(["rm", "-rf", directory], check=True)
    subprocess.run(["dpkg-deb", "-R", deb, directory], check=True)
    with open(directory + "/DEBIAN/control") as file:
        control = file.read()
    with open(directory + "/DEBIAN/control", "w") as file:
        file.write(re.sub(r"(?m)^Version: (.*)$", r"Version: \1+boot1", control))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", directory, made], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["rm", "-rf", directory], check=True)
    return made


# --- reboot

def reboot(guest):
    """A reboot keeps the ARN and reports the task's end; what Docker had handed over of its logs is not lost."""
    mark = guest.cp.recording.mark()
    guest.run("systemctl reboot", check=False)
    guest.machine.hang_up()
    guest.boot = guest.machine.wait_ssh(PATIENCE, guest.boot)
    guest.connected(mark)
    expect(guest.cp.registered, [guest.arn])
    guest.cp.wait_task_status(guest.workload.arn, "STOPPED", PATIENCE, mark)
    return f"{settled(guest)}; {guest.workload.examine()}"


def runs_after_reboot(guest):
    """A task runs after the reboot, with credentials and logs."""
    guest.workload = Workload(guest.vpc, guest.machine).start()
    return guest.workload.check()


# --- uninstall

def uninstall_refused(guest):
    """While containers log through ecs-logd the package is not removed, says why, and all goes on."""
    before = guest.workload.containers()
    try:
        guest.run("apt-get --yes purge ecsd")
        raise AssertionError("it was removed")
    except Failed as error:
        said = next((line for line in error.output.splitlines() if "ecsd is not removed" in line), None)
        if not said:
            raise
    same(before, guest.workload.containers())
    guest.workload.check()
    return said


def task_stops(guest):
    """ECS stops the task: reported with exit codes, the last line of its log has arrived."""
    mark = guest.cp.recording.mark()
    guest.workload.stop()
    for name in ("asker", "writer"):
        expect(guest.cp.wait_container_status(guest.workload.arn, name, "STOPPED", 1, mark).get("exitCode"), 0)
    return guest.workload.examine_whole()


def uninstall(guest):
    """Removed and purged, the package leaves no rule, no user and no file behind."""
    guest.run("apt-get --yes purge ecsd")
    names = " -o ".join(f"-name '{name}'" for name in OUR_FILES)
    left = guest.run(f"find / -xdev \\( {names} \\) ; find /run \\( {names} \\) ; getent passwd ecs-endpoint ecs-logd ;"
                     "getent group ecs-endpoint ecs-logd ; systemctl list-units --all --no-legend 'ecs.*' 'ecsd*' 'ecs-*' ;"
                     "ls -d /var/lib/ecs* /var/log/ecs* /run/ecs* ; systemctl list-unit-files --no-legend 'ecs.*' 'ecsd*' 'ecs-*' ;"
                     "{ iptables-save; ip6tables-save; } | grep -E '51678|51679|169.254.170.2' ;"
                     "ip route show 169.254.170.2 ; grep -s ecs /sys/kernel/security/apparmor/profiles ; true").split("\n")
    expect([line for line in left if line], [])
    expect(guest.run("sysctl -n net.ipv4.conf.all.route_localnet").strip(), "0")
    expect(guest.run("systemctl is-active docker").strip(), "active")


def switches_off(guest):
    """It switches off."""
    guest.run("systemctl poweroff", check=False)
    guest.machine.wait_off(PATIENCE)


CHECKS = (image_has_no_ids, boots, user_data_starts_ecs, registers, nothing_pulled, host_is_set_up, task_runs, limits, credentials,
          logs, scores, restart_ecsd, restart_docker, restart_satellites, stop_ecs, upgrade, reboot, runs_after_reboot, uninstall_refused,
          task_stops, uninstall, switches_off)
