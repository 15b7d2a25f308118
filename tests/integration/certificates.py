"""An authority and certificates for mutual TLS, made with openssl."""

import subprocess


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def sign(folder, name, alternatives):
    """NAME.pem and NAME.key for "DNS:localhost,IP:127.0.0.1", by the authority in the folder."""
    (folder / "names").write_text(f"subjectAltName={alternatives}\n")
    openssl(folder, "req", *NEW, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", f"{name}.pem")


def make(folder, names):
    """Fills `folder` with an authority, ca.pem, and with certificates: {"server": "DNS:localhost,IP:127.0.0.1"}."""
    openssl(folder, "req", "-x509", *NEW, "-subj", "/CN=authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    for name, alternatives in names.items():
        sign(folder, name, alternatives)
    return folder


def serial(pem):
    """The serial number of the first certificate in a text."""
    done = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, capture_output=True, check=True)
    return done.stdout.decode().strip()
