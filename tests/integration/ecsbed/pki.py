"""A certificate authority for one test run, and a server certificate for 127.0.0.1."""

import os
import ssl
import subprocess


class Pki:
    def __init__(self, directory):
        self.ca = os.path.join(directory, "ca.pem")
        key, cert = os.path.join(directory, "server.key"), os.path.join(directory, "server.pem")
        ca_key, request = os.path.join(directory, "ca.key"), os.path.join(directory, "server.csr")
        extensions = os.path.join(directory, "server.ext")
        with open(extensions, "w") as file:
            file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", ca_key,
                 "-out", self.ca, "-subj", "/CN=ecsd test CA")
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request,
                 "-subj", "/CN=127.0.0.1")
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial",
                 "-days", "30", "-extfile", extensions, "-out", cert)
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.load_cert_chain(cert, key)
        self.server_context.set_alpn_protocols(["http/1.1"])


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
