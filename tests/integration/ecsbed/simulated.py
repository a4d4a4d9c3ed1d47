"""An instance whose Docker is simulated (dockersim.py): the same to use as one with a real engine, but its containers
have no network and no file system, and a thousand of them are no burden."""

import os
import signal

from .dockersim import SERVER_VERSION, DockerSim
from .instance import BedError, Namespaces


class SimulatedInstance(Namespaces):
    """up() makes it, down() takes everything away again. `sim` is the simulated engine.

    scale: how much faster than real its containers are; give the bed's clock scale. pid_share: how many of them have
    a real process."""

    def __init__(self, name=None, live_restore=False, scale=1.0, pid_share=0.5):
        super().__init__(name)
        self.live_restore = live_restore
        self._options = {"scale": scale, "pid_share": pid_share, "live_restore": live_restore}
        self.sim = None

    def up(self):
        try:
            self.up_namespaces()
            os.makedirs(f"{self.dir}/data")
            self.sim = DockerSim(self.docker_socket, f"{self.dir}/data", **self._options).up()
        except BaseException:
            self.down()
            raise
        return self

    def down(self):
        if self.sim:
            self.sim.close()
        self.remove_namespaces()

    # --- the daemon

    def start_dockerd(self):
        self.sim.back()

    def stop_dockerd(self, how=signal.SIGTERM):
        self.sim.away(killed=how == signal.SIGKILL)

    def restart_dockerd(self, how=signal.SIGTERM):
        self.stop_dockerd(how)
        self.start_dockerd()

    # --- what the command line would tell, without starting it a thousand times

    def inspect(self, container):
        with self.sim.changed:
            found = self.sim.containers.get(container)
            if not found:
                raise BedError(f"no such container: {container}")
            return found.inspected()

    def containers(self, task=None, running=False):
        with self.sim.changed:
            return [c.id for c in self.sim.containers.values()
                    if (task is None or c.task == task) and (c.running or not running)]

    def container(self, task, name):
        found = self.sim.find(task, name)
        if len(found) != 1:
            raise BedError(f"{len(found)} containers called {name} of {task}, not 1")
        return found[0].id

    def remove_containers(self):
        """Also what else a test has left behind: hooks, images and volumes."""
        self.sim.reset()

    def docker_version(self):
        return SERVER_VERSION
