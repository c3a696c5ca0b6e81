#include "certificates.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

static FILE *open_file(const char *folder, const char *name, const char *suffix, const char *mode)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s.%s", folder, name, suffix);
    return fopen(path, mode);
}

static int add_extension(X509 *x, X509 *issuer, int id, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, id, value);
    int ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

static int load_issuer(const char *folder, const char *name, X509 **x, EVP_PKEY **key)
{
    FILE *f = open_file(folder, name, "pem", "r");

    if (!f)
        return -1;
    *x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    f = open_file(folder, name, "key", "r");
    if (!f)
        return -1;
    *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    return *x && *key ? 0 : -1;
}

static int fill(X509 *x, EVP_PKEY *key, const struct certificate *c, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), random() + 1);
    X509_gmtime_adj(X509_getm_notBefore(x), c->from);
    X509_gmtime_adj(X509_getm_notAfter(x), c->until);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)c->name,
                               -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer));
    X509_set_pubkey(x, key);
    if (!c->issuer && !add_extension(x, issuer, NID_basic_constraints, "critical,CA:TRUE"))
        return -1;
    if (c->subject && !add_extension(x, issuer, NID_subject_alt_name, c->subject))
        return -1;
    return X509_sign(x, issuer_key, EVP_sha256()) > 0 ? 0 : -1;
}

static int store(const char *folder, const char *name, X509 *x, EVP_PKEY *key)
{
    FILE *f = open_file(folder, name, "pem", "w");
    int ok = f && PEM_write_X509(f, x) == 1;

    if (f)
        fclose(f);
    f = open_file(folder, name, "key", "w");
    ok = ok && f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;
    if (f)
        fclose(f);
    return ok ? 0 : -1;
}

int certificate_make(const char *folder, const struct certificate *c)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"), *issuer_key = NULL;
    X509 *x = X509_new(), *issuer = NULL;
    int r = -1;

    if (key && x && (!c->issuer || load_issuer(folder, c->issuer, &issuer, &issuer_key) == 0) &&
        fill(x, key, c, issuer ? issuer : x, issuer_key ? issuer_key : key) == 0)
        r = store(folder, c->name, x, key);
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
    X509_free(x);
    EVP_PKEY_free(key);
    return r;
}
