"""Certificates for the TLS tests, made by the openssl program: one folder, each made when it is first asked for."""

import os
import subprocess

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def _openssl(*arguments, stdin=None):
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


class Certs:
    def __init__(self, folder):
        self.folder = folder
        self.serial = 1

    def _path(self, name):
        return os.path.join(self.folder, name)

    def ca(self, name="ca"):
        """A CA of that name: the path of its certificate."""
        path = self._path(f"{name}.pem")
        if not os.path.exists(path):
            _openssl("req", "-x509", *_KEY, "-keyout", self._path(f"{name}.key"), "-out", path, "-days", "30",
                     "-subj", f"/CN=imd test {name}", "-addext", "basicConstraints=critical,CA:TRUE",
                     "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        return path

    def leaf(self, name, san, ca="ca", days=30):
        """A certificate with these subjectAltNames (None: without any), signed by that CA: (certificate, key)."""
        cert, key = self._path(f"{name}.pem"), self._path(f"{name}.key")
        if not os.path.exists(cert):
            ca_cert = self.ca(ca)
            self.serial += 1
            _openssl("req", *_KEY, "-keyout", key, "-out", self._path(f"{name}.csr"), "-subj", f"/CN={name}")
            extensions = self._path(f"{name}.ext")
            with open(extensions, "w") as f:
                f.write("basicConstraints=CA:FALSE\n")
                f.write(f"subjectAltName={san}\n" if san else "")
            _openssl("x509", "-req", "-in", self._path(f"{name}.csr"), "-CA", ca_cert, "-CAkey",
                     self._path(f"{ca}.key"), "-set_serial", str(self.serial), "-days", str(days), "-out", cert,
                     "-extfile", extensions)
        return cert, key

    def good(self):
        return self.leaf("good", "DNS:localhost")

    def wrong_name(self):
        return self.leaf("wrong-name", "DNS:other.example")

    def expired(self):
        return self.leaf("expired", "DNS:localhost", days=-1)

    def unknown_ca(self):
        return self.leaf("unknown-ca", "DNS:localhost", ca="other-ca")

    def addresses(self):
        return self.leaf("addresses", "IP:127.0.0.1,IP:::1")

    def client(self):
        return self.leaf("client", None)
