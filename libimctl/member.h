/*
 * Members of a message, in an ordered list: each value is JSON text already, or a file.
 */
#ifndef IMCTL_MEMBER_H
#define IMCTL_MEMBER_H

#include "text.h"
#include "view.h"

struct member {
    struct member *next;
    struct text key; /* as JSON */
    struct text value;
    int fd; /* of a file that is the value; -1: none */
};

/* The member of this key, made when there is none, with an empty value. 0, -ENOMEM, -EILSEQ. */
int member_claim(struct member **list, const char *key, struct member **out);

/* The link to the member of this key, which needs no escape; to the end of the list when there is none. */
struct member **member_find(struct member **list, const char *key);
void member_free(struct member *m);

/* Those of an object that was found good; the list is empty. 0, -ENOMEM. */
int members_parse(struct member **list, struct view object);
void members_free(struct member **list);

size_t members_files(const struct member *list); /* how many are files */
void members_write(const struct member *list, struct json_writer *w);

#endif
