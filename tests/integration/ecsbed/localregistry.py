"""A registry (Debian's docker-registry) in an instance, on 127.0.0.1:5000, with images written straight into its
storage: nothing is built or pushed, and nothing of it is on the disk of the instance's Docker."""

import hashlib
import io
import json
import os
import subprocess
import tarfile

from . import image
from .instance import wait_until

PORT = 5000
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"    # Docker looks at the bytes: these are not packed


class LocalRegistry:
    def __init__(self, instance):
        self.instance, self.root = instance, f"{instance.dir}/registry"
        self.base = f"{self.root}/docker/registry/v2"
        os.makedirs(self.root, exist_ok=True)
        config = f"{self.root}/config.yml"
        with open(config, "w") as file:
            file.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {self.root}}}}}\n"
                       f"http: {{addr: 127.0.0.1:{PORT}}}\n")
        self.process = subprocess.Popen(instance.command("docker-registry", "serve", config),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_until(self._answers, 10, "registry")

    def _answers(self):
        try:
            return self.instance.http("GET", f"http://127.0.0.1:{PORT}/v2/").status == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(5)

    def _link(self, directory, digest):
        os.makedirs(f"{self.base}/{directory}", exist_ok=True)
        with open(f"{self.base}/{directory}/link", "w") as file:
            file.write(digest)

    def _blob(self, repository, data):
        digest = hashlib.sha256(data).hexdigest()
        directory = f"{self.base}/blobs/sha256/{digest[:2]}/{digest}"
        os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/data", "wb") as file:
            file.write(data)
        self._link(f"repositories/{repository}/_layers/sha256/{digest}", "sha256:" + digest)
        return {"size": len(data), "digest": "sha256:" + digest}

    def add(self, repository, tag, mebibytes):
        """An image: the test beds' own, and a layer with a file of that size that no other image has."""
        layers = [image.tar_bytes(), _layer(mebibytes << 20)]
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
            "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]}}
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **self._blob(repository, json.dumps(config).encode())},
            "layers": [{"mediaType": LAYER, **self._blob(repository, layer)} for layer in layers]}).encode()
        digest = self._blob(repository, manifest)["digest"]
        at = f"repositories/{repository}/_manifests"
        self._link(f"{at}/revisions/sha256/{digest[7:]}", digest)
        self._link(f"{at}/tags/{tag}/current", digest)
        self._link(f"{at}/tags/{tag}/index/sha256/{digest[7:]}", digest)
        return f"127.0.0.1:{PORT}/{repository}:{tag}"


def _layer(size):
    """A tar file with one file of random bytes: compressing file systems must not help."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("ballast")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return buffer.getvalue()
