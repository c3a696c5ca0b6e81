/* Makes the keys and certificates that TLS tests need, as PEM files in a folder of the test. */
#ifndef TEST_CERTIFICATES_H
#define TEST_CERTIFICATES_H

struct certificate {
    const char *name;   /* NAME.pem and NAME.key are written */
    const char *issuer; /* such a name, made before; NULL: self-signed, a CA */
    const char *
        subject; /* subjectAltName, as in openssl's configuration: "DNS:localhost,IP:127.0.0.1"; NULL: none */
    long from, until; /* validity, seconds from now */
};

/* 0, or -1: OpenSSL or the folder refuses. */
int certificate_make(const char *folder, const struct certificate *c);

#endif
