/*
 * The client's side of TLS: whom to trust, which name the server must prove, who we are. One object for one
 * configured URL. The name is part of the context: no connection can leave it unchecked.
 */
#ifndef IMD_TLS_H
#define IMD_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct ssl_st;
struct tls;

/*
 * Trusts the CAs in ca_file (PEM) and no others; the server's certificate must be for `host`, a DNS name or
 * (literal) an IP address. 0; the open error's negative errno; -EINVAL: there is no certificate in the file.
 */
int tls_new(struct tls **out, const char *ca_file, const char *host, bool literal);
void tls_free(struct tls *t); /* NULL is fine; connections that still use the context keep it alive */

/*
 * Reads the client certificate (with its chain) and key anew, for the connections made from now on. 0, or a
 * negative errno with a sentence in detail. Keys with a passphrase are refused: nobody is there to type it.
 */
int tls_load_identity(struct tls *t, const char *cert_file, const char *key_file, char *detail, size_t size);

/* A client's side on a connected socket, which stays the caller's; SSL_free ends it. NULL: no memory. */
struct ssl_st *tls_begin(struct tls *t, int fd);

/* Why the handshake of ssl failed, in words; false: TLS itself saw nothing wrong. For connections that are
 * given up. */
bool tls_failure(struct tls *t, struct ssl_st *ssl, char *detail, size_t size);

#endif
