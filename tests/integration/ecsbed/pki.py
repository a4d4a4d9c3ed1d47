"""A certificate authority for one test run, and server certificates: a good one for the bed's addresses, and bad ones."""

import copy
import os
import ssl
import subprocess

# Docker does not verify registries in 127.0.0.0/8; this address is given to the loopback where one is needed.
REGISTRY_ADDRESS = "10.255.0.1"
NAMES = f"IP:127.0.0.1,IP:10.99.0.1,IP:{REGISTRY_ADDRESS},DNS:localhost"


class Pki:
    """ca: the file of the authority's certificate; server_context: TLS of a server whose certificate is good."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.ca, self.ca_key = os.path.join(directory, "ca.pem"), os.path.join(directory, "ca.key")
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", self.ca_key,
                 "-out", self.ca, "-subj", "/CN=ecsd test CA")
        self.server_context = self.context("server")
        self.server_cert, self.server_key = (os.path.join(directory, f"server.{end}") for end in ("pem", "key"))

    def certificate(self, name, alternative_names=NAMES, days=30, use="serverAuth"):
        """The files of a certificate and its key."""
        key, cert, request, extensions = (os.path.join(self.directory, f"{name}.{end}")
                                          for end in ("key", "pem", "csr", "ext"))
        with open(extensions, "w") as file:
            file.write(f"subjectAltName={alternative_names}\nextendedKeyUsage={use}\n")
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=127.0.0.1")
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial",
                 "-days", str(days), "-extfile", extensions, "-out", cert)
        return cert, key

    def client_certificate(self):
        return self.certificate("client", use="clientAuth")

    def context(self, name, alternative_names=NAMES, days=30):
        """TLS of a server with a certificate of its own; negative days: it is out of date."""
        cert, key = self.certificate(name, alternative_names, days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def client(self, name="client"):
        """Files of a client's certificate and key."""
        key, cert, request, extensions = (os.path.join(self.directory, f"{name}.{end}")
                                          for end in ("key", "pem", "csr", "ext"))
        with open(extensions, "w") as file:
            file.write("extendedKeyUsage=clientAuth\n")
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial",
                 "-days", "30", "-extfile", extensions, "-out", cert)
        return cert, key

    def self_signed(self):
        """TLS of a server whose certificate nobody else has signed."""
        key, cert = (os.path.join(self.directory, f"self.{end}") for end in ("key", "pem"))
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", key, "-out", cert,
                 "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=" + NAMES)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        return context

    def having(self, server_context):
        """The same authority, and servers with this certificate."""
        other = copy.copy(self)
        other.server_context = server_context
        return other

    def ca_directory(self):
        """A directory with the authority's certificate, as c_rehash makes it."""
        path = os.path.join(self.directory, "certs")
        os.makedirs(path, exist_ok=True)
        if not os.path.exists(f"{path}/ca.pem"):
            os.link(self.ca, f"{path}/ca.pem")
            _openssl("rehash", path)
        return path


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
