#include "formats/voc_xml.h"

#include <ctype.h>
#include <expat.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_TEXT = LD_VOC_TEXT,
    MAX_DEPTH = 4,      /* annotation, object, bndbox, xmin */
    MAX_SIDE = 1 << 24, /* pixels; exact in a float */
};

/* What is kept of an annotation file. */
enum field {
    FILE_NAME,
    WIDTH,
    HEIGHT,
    NAME,
    DIFFICULT,
    XMIN,
    YMIN,
    XMAX,
    YMAX,
    N_FIELDS,
    FIRST_OF_OBJECT = NAME,
};

static const char *const field_path[N_FIELDS] = {
    [FILE_NAME] = "annotation/filename",
    [WIDTH] = "annotation/size/width",
    [HEIGHT] = "annotation/size/height",
    [NAME] = "annotation/object/name",
    [DIFFICULT] = "annotation/object/difficult",
    [XMIN] = "annotation/object/bndbox/xmin",
    [YMIN] = "annotation/object/bndbox/ymin",
    [XMAX] = "annotation/object/bndbox/xmax",
    [YMAX] = "annotation/object/bndbox/ymax",
};

struct reader {
    struct ld_voc_file *file;
    struct ld_err *err;
    const char *path; /* of the file, for errors */
    XML_Parser parser;
    char open[128]; /* the open elements, "annotation/size", as far as they are
                       no deeper than MAX_DEPTH and fit */
    size_t open_len[MAX_DEPTH + 1]; /* by depth */
    int depth;
    char text[MAX_TEXT]; /* of the innermost element */
    size_t n_text;
    char value[N_FIELDS][MAX_TEXT]; /* empty: not seen */
};

/* An error at the place that the parser has reached; ends the parse. */
__attribute__((format(printf, 2, 3))) static bool
fail_here(struct reader *r, const char *format, ...)
{
    char what[300];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    XML_StopParser(r->parser, XML_FALSE);
    return ld_fail(r->err, LD_ERR_FORMAT, "%s:%lu:%lu: %s", r->path,
                   (unsigned long)XML_GetCurrentLineNumber(r->parser),
                   (unsigned long)XML_GetCurrentColumnNumber(r->parser) + 1,
                   what);
}

static bool read_number(struct reader *r, enum field field, double *out)
{
    char *end;

    *out = strtod(r->value[field], &end);
    if (end == r->value[field])
        return fail_here(r, "expected a number in %s, found '%.40s'",
                         field_path[field], r->value[field]);
    if (*end || !(fabs(*out) <= MAX_SIDE))
        return fail_here(r, "expected a number up to %d in %s, found '%.40s'",
                         MAX_SIDE, field_path[field], r->value[field]);
    return true;
}

/* The files count pixels from 1. */
static bool read_box(struct reader *r, struct ld_box *box)
{
    float *edge[] = {&box->x0, &box->y0, &box->x1, &box->y1};
    double value;

    for (int i = 0; i < 4; i++) {
        enum field field = (enum field)(XMIN + i);

        if (!r->value[field][0])
            return fail_here(r, "the object that ends here has no %s",
                             field_path[field]);
        if (!read_number(r, field, &value))
            return false;
        *edge[i] = (float)(trunc(value) - 1);
    }
    return true;
}

static void end_object(struct reader *r)
{
    struct ld_voc_object object = {.name = r->value[NAME]};
    double difficult = 0;

    if (!r->value[NAME][0]) {
        fail_here(r, "the object that ends here has no name");
        return;
    }
    if (!read_box(r, &object.box) ||
        (r->value[DIFFICULT][0] && !read_number(r, DIFFICULT, &difficult)))
        return;
    object.difficult = difficult != 0;
    if (!r->file->add(r->file->user, &object, r->err))
        XML_StopParser(r->parser, XML_FALSE);
    for (int i = FIRST_OF_OBJECT; i < N_FIELDS; i++)
        r->value[i][0] = 0;
}

static void end_size(struct reader *r)
{
    double H = 0, W = 0;

    if ((r->value[HEIGHT][0] && !read_number(r, HEIGHT, &H)) ||
        (r->value[WIDTH][0] && !read_number(r, WIDTH, &W)))
        return;
    if (H < 0 || W < 0) {
        fail_here(r, "an image of negative size");
    } else if (H >= 1 && W >= 1) {
        r->file->H = (int32_t)H;
        r->file->W = (int32_t)W;
    }
}

/* The text of the innermost element, without white space around it. */
static void keep_value(struct reader *r, enum field field)
{
    const char *begin = r->text, *end = r->text + r->n_text;

    if (r->n_text == MAX_TEXT) {
        fail_here(r, "%s is longer than %d bytes", field_path[field],
                  MAX_TEXT - 1);
        return;
    }
    while (begin < end && isspace((unsigned char)*begin))
        begin++;
    while (begin < end && isspace((unsigned char)end[-1]))
        end--;
    memcpy(r->value[field], begin, (size_t)(end - begin));
    r->value[field][end - begin] = 0;
}

static void XMLCALL on_start(void *user, const char *name, const char **unused)
{
    struct reader *r = user;
    size_t len;

    (void)unused;
    if (r->err->code)
        return;
    r->n_text = 0;
    if (r->depth == 0 && strcmp(name, "annotation") != 0) {
        fail_here(r, "expected <annotation>, found <%.40s>", name);
        return;
    }
    if (r->depth < MAX_DEPTH) {
        len = r->open_len[r->depth];
        snprintf(r->open + len, sizeof(r->open) - len, "%s%s", len ? "/" : "",
                 name);
        r->open_len[r->depth + 1] = strlen(r->open);
    }
    r->depth++;
}

static void XMLCALL on_end(void *user, const char *name)
{
    struct reader *r = user;

    (void)name;
    if (r->err->code)
        return;
    if (r->depth <= MAX_DEPTH) {
        for (int i = 0; i < N_FIELDS; i++)
            if (strcmp(r->open, field_path[i]) == 0)
                keep_value(r, (enum field)i);
        if (strcmp(r->open, "annotation/object") == 0)
            end_object(r);
        if (strcmp(r->open, "annotation/size") == 0)
            end_size(r);
        r->open[r->open_len[r->depth - 1]] = 0;
    }
    r->n_text = 0;
    r->depth--;
}

static void XMLCALL on_text(void *user, const char *text, int len)
{
    struct reader *r = user;
    size_t room = MAX_TEXT - r->n_text;
    size_t n = (size_t)len < room ? (size_t)len : room;

    memcpy(r->text + r->n_text, text, n);
    r->n_text += n;
}

/* Entities can be declared nowhere else, so none can grow. */
static void XMLCALL on_doctype(void *user, const char *name, const char *system,
                               const char *public, int has_subset)
{
    (void)name;
    (void)system;
    (void)public;
    (void)has_subset;
    fail_here(user, "a document type declaration is not accepted");
}

static void parse(struct reader *r, const struct ld_file *bytes)
{
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, on_start, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
    if (bytes->len > INT_MAX)
        fail_here(r, "the file is too large for an annotation");
    else if (XML_Parse(r->parser, (const char *)bytes->data, (int)bytes->len,
                       1) == XML_STATUS_ERROR)
        fail_here(r, "%s", XML_ErrorString(XML_GetErrorCode(r->parser)));
    memcpy(r->file->image_name, r->value[FILE_NAME], MAX_TEXT);
}

bool ld_voc_xml_read(const char *path, const struct ld_file *bytes,
                     struct ld_voc_file *file, struct ld_err *err)
{
    struct reader *r = ld_new(1, sizeof(*r), err);

    if (!r)
        return false;
    *r = (struct reader){.file = file, .err = err, .path = path};
    r->parser = XML_ParserCreate(NULL);
    if (r->parser) {
        parse(r, bytes);
        XML_ParserFree(r->parser);
    } else {
        ld_fail(err, LD_ERR_MEMORY, "out of memory: an XML parser");
    }
    ld_delete(r);
    return !err->code;
}
