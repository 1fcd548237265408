/* How ctxengine builds PCRE2: src/config.h.generic of the library explains each name. */
#define SUPPORT_UNICODE 1
#define SUPPORT_JIT 1
#define PCRE2_EXPORT
#define HAVE_ASSERT_H 1
#define HAVE_STDINT_H 1
#define HAVE_INTTYPES_H 1
#define HAVE_STDLIB_H 1
#define HAVE_STRING_H 1
#define HAVE_UNISTD_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_SYS_TYPES_H 1
#define NEWLINE_DEFAULT 2
#define LINK_SIZE 4
#define HEAP_LIMIT 20000000
#define MATCH_LIMIT 10000000
#define MATCH_LIMIT_DEPTH MATCH_LIMIT
#define MAX_NAME_COUNT 10000
#define MAX_NAME_SIZE 128
#define MAX_VARLOOKBEHIND 255
#define PARENS_NEST_LIMIT 250
